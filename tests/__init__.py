"""The tests: unit/ mirrors the tree, contract/ holds one suite per interface, flow/ whole paths,
fault/ kills.
"""
