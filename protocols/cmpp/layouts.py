"""The field layouts of CMPP 2.0 and 3.0 as compiled structs, shared by encoder and decoder."""

from __future__ import annotations

from struct import Struct

HEADER = Struct(">III")
HEADER_SIZE = 12
MAX_LENGTH = 4096  #: a 99-recipient 3.0 SUBMIT with 255 octets of content is 3586

CONNECT = Struct(">6s16sBI")
CONNECT_RESP_20 = Struct(">B16sB")
CONNECT_RESP_30 = Struct(">I16sB")
ID_RESULT_20 = Struct(">QB")
ID_RESULT_30 = Struct(">QI")
# A whole SUBMIT_RESP.
TAKEN_20 = Struct(">III" + ID_RESULT_20.format[1:])
TAKEN_30 = Struct(">III" + ID_RESULT_30.format[1:])
# SUBMIT up to and including DestUsr_tl; 3.0 has a wider Fee_terminal_Id followed by its type octet.
SUBMIT_20 = Struct(">QBBBB10sB21sBBB6s2s6s17s17s21sB")
SUBMIT_30 = Struct(">QBBBB10sB32sBBBB6s2s6s17s17s21sB")
SUBMIT_20_FULL = Struct(">III" + SUBMIT_20.format[1:])
SUBMIT_30_FULL = Struct(">III" + SUBMIT_30.format[1:])
# DELIVER up to and including Msg_Length.
DELIVER_20 = Struct(">Q21s10sBBB21sBB")
DELIVER_30 = Struct(">Q21s10sBBB32sBBB")
DELIVER_20_FULL = Struct(">III" + DELIVER_20.format[1:])
DELIVER_30_FULL = Struct(">III" + DELIVER_30.format[1:])
QUERY = Struct(">8sB10s8s")
QUERY_RESP = Struct(">8sB10s8I")

TAIL_20, TAIL_30 = 8, 20  # Reserve, LinkID
TAIL_MAY_MISS = 11
SUBMIT_20_FIXED = SUBMIT_20.size + 1  # + Msg_Length
SUBMIT_30_FIXED = SUBMIT_30.size + 2  # + Dest_terminal_type, Msg_Length
