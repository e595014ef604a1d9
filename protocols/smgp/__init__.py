"""SMGP 3.0 (China Telecom): PDUs, codec and connection state machine, without I/O.

`pdu` holds the values, `codec` the octets (`tags` the optional parameters), `report` the status
report, `msgid` the BCD MsgID, `auth` the login digests, `results` the code tables, `link` one end of
one connection.
"""
