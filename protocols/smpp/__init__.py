"""SMPP 3.4: PDUs, codec, content, receipts and session state machine, without I/O.

`pdu` holds the values, `codec` the octets (`tags` the optional parameters), `content` what a message
carries, `receipt` the delivery receipt, `times` its time format, `results` the status table, `link`
one end of one session.
"""
