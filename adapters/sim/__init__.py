"""The far ends as simulators, and the rigs that run an adapter against its own for the contract
suite.
"""
