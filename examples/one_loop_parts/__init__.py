"""The parts of one_loop.py, a file for each framework.

rules.py      what a key and a value may be, and the error that says so
ledger.py     who did what, in which thread and on which loop
kv.py         Twisted: the key-value server, and a client for it
sums.py       asyncio: a service that adds up stored numbers
web.py        Tornado: the store over HTTP
visitor.py    aiohttp: a client that uses all of it, and knows what should come out
"""
