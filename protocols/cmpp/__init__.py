"""CMPP 2.0 and 3.0 (China Mobile peer to peer): PDUs, codec and connection state machine, without
I/O.

`pdu` holds the values, `encode` and `decode` the octets (`layouts` their structs), `report` the
status report, `msgid` the Msg_Id bits, `auth` the login digests, `link` one end of one connection,
`events` what it says and `terms` its settings.
"""
