"""Bench: `python -m bench e2e` and `python -m bench drain` measure the product against baselines in the same run, as ratios.

Machines are noisy, so nothing here is an absolute figure: product and baseline take turns on the same private servers, and
CPU-microseconds per message are shown beside every rate. Files: `e2e` (the end-to-end comparison), `naive` (its baseline: the
same promises over the same hops, one message at a time), `drain` (a channel worker against a bare consume-decode-ack loop),
`stand` (servers, processes, CPU meters), `load` (the load generator), `far_end` (the carrier), `report` (ratios and tables).
"""
