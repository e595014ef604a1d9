"""The open protocol of a hosted-account gateway (托管), version 1: commands to it and events from it, both signed JSON; docs/hosted-protocol.md
describes it for whoever builds such a gateway.
"""
