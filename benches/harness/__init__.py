"""The benchmark harness: knows nothing of any loop, framework or protocol.

`model` says what a suite is, `suites` finds them, `processes` and `kinds` measure one figure,
`rounds` takes contestants in turn, `figures` makes ratios of it, `report` prints.
"""
