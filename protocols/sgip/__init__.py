"""SGIP 1.2 (China Unicom): PDUs, codec and connection state machine for both directions, without
I/O.

`pdu` holds the values, `codec` the octets, `sequence` the 12-octet Sequence Number, `results` the
code tables, `link` one end of one connection.
"""
