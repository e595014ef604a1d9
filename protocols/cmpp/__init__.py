"""CMPP 2.0 and 3.0 (China Mobile peer to peer): PDUs, codec and connection state machine, without I/O.

`pdu` holds the values, `codec` the octets, `report` the status report, `msgid` the Msg_Id bits, `auth` the login
digests and `link` the two ends of one connection.
"""
