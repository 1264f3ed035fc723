"""Scrapy, as a program of its own, on a reactor named in TWISTED_REACTOR, crawls a site served by the same reactor."""

# unittest runs it, whose assertions say what differed.
# ruff: noqa: PT009

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
PAGES = 1000

# The contestant's name, and what goes into Scrapy's settings.
ON = os.environ.get("CRAWL_ON", "")
REACTORS = {
    "interloop": "interloop.twisted.Reactor",
    "asyncio": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
}
# Of the classes that the spider must see: the reactor's, and its loop's.
PACKAGES = {"interloop": ("interloop", "interloop"), "asyncio": ("twisted", "asyncio")}


class ThousandPages(unittest.TestCase):
    maxDiff = None

    def setUp(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "site_of_pages.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.addCleanup(self.end)
        assert self.server.stdout is not None
        self.site = f"http://127.0.0.1:{int(self.server.stdout.readline())}"

    def end(self) -> None:
        _, said = self.server.communicate()
        self.assertEqual(self.server.returncode, 0, said)
        # On whose transports the pages left.
        self.assertIn("'stock': 0" if ON == "interloop" else "'placed': 0", said)

    def crawl(self, **settings: object) -> dict[str, object]:
        """Checks the pages that Scrapy found; returns its statistics."""
        settings = {
            "TWISTED_REACTOR": REACTORS[ON],
            "CONCURRENT_REQUESTS": 64,
            "CONCURRENT_REQUESTS_PER_DOMAIN": 64,
            "LOG_LEVEL": "WARNING",
            "STATS_DUMP": False,
            **settings,
        }
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = f"""
import json, sys
sys.path.insert(0, {str(HERE)!r})
from scrapy.crawler import CrawlerProcess
from pages_spider import PagesSpider
process = CrawlerProcess({{**json.loads(sys.argv[1]), "FEEDS": {{"pages.jsonl": {{"format": "jsonlines"}}}}}})
crawler = process.create_crawler(PagesSpider)
process.crawl(crawler, site=sys.argv[2])
process.start()
print(json.dumps(crawler.stats.get_stats(), default=str))
"""
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error::ResourceWarning"),
                *("-c", program, json.dumps(settings), self.site),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder.name,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = Path(folder.name, "pages.jsonl").read_text().splitlines()
        pages = [json.loads(line) for line in lines]
        self.assertEqual(len(pages), PAGES)
        self.assertEqual(
            {page["title"]: page["dots"] for page in pages},
            {f"Page {number}": number for number in range(1, PAGES + 1)},
        )
        stats: dict[str, object] = json.loads(done.stdout)
        self.assertEqual(stats["finish_reason"], "finished")
        self.assertEqual(stats["downloader/response_status_count/200"], PAGES)
        self.assertEqual(stats["item_scraped_count"], PAGES)
        self.assertNotIn("retry/count", stats)
        self.assertEqual(tuple(kind.partition(".")[0] for kind in stats["on"]), PACKAGES[ON])
        return stats

    def test_by_the_reactors_name(self) -> None:
        self.crawl()

    def test_by_the_names_of_reactor_and_loop(self) -> None:
        loop = {"interloop": "interloop.Loop", "asyncio": "asyncio.SelectorEventLoop"}[ON]
        self.crawl(ASYNCIO_EVENT_LOOP=loop)
