"""Follows every link of the site, and says of each page what it is. Part of it is written for asyncio."""

from __future__ import annotations

import asyncio

import scrapy


class PagesSpider(scrapy.Spider):
    name = "pages"

    async def start(self):
        from twisted.internet import reactor

        kinds = type(reactor), type(reactor._asyncioEventloop)
        self.crawler.stats.set_value(
            "on", [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]
        )
        yield scrapy.Request(f"{self.site}/page/1")

    async def parse(self, response):
        # Tasks of their own, in which Scrapy's Deferreds and asyncio's Futures are awaited.
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
        dots = response.css("body::text").get("")
        yield {"title": response.css("title::text").get(), "dots": len(dots)}
        for request in response.follow_all(css="a"):
            yield request
