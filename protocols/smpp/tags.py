"""The optional parameters of SMPP 3.4 by tag, with the lengths their values may have (5.3.2)."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.sms.tlv import Tag

RECEIPTED_MESSAGE_ID = 0x001E
USER_MESSAGE_REFERENCE = 0x0204
SAR_MSG_REF_NUM = 0x020C
SAR_TOTAL_SEGMENTS = 0x020E
SAR_SEGMENT_SEQNUM = 0x020F
SC_INTERFACE_VERSION = 0x0210
NETWORK_ERROR_CODE = 0x0423
MESSAGE_PAYLOAD = 0x0424
MESSAGE_STATE = 0x0427

TAGS: Mapping[int, Tag] = {
    0x0005: Tag("dest_addr_subunit", 1, 1),
    0x0006: Tag("dest_network_type", 1, 1),
    0x000E: Tag("source_network_type", 1, 1),
    0x0017: Tag("qos_time_to_live", 4, 4),
    0x0019: Tag("payload_type", 1, 1),
    0x001D: Tag("additional_status_info_text", 1, 256),
    RECEIPTED_MESSAGE_ID: Tag("receipted_message_id", 1, 65),
    0x0030: Tag("ms_msg_wait_facilities", 1, 1),
    0x0201: Tag("privacy_indicator", 1, 1),
    USER_MESSAGE_REFERENCE: Tag("user_message_reference", 2, 2),
    0x020A: Tag("source_port", 2, 2),
    0x020B: Tag("destination_port", 2, 2),
    SAR_MSG_REF_NUM: Tag("sar_msg_ref_num", 2, 2),
    0x020D: Tag("language_indicator", 1, 1),
    SAR_TOTAL_SEGMENTS: Tag("sar_total_segments", 1, 1),
    SAR_SEGMENT_SEQNUM: Tag("sar_segment_seqnum", 1, 1),
    SC_INTERFACE_VERSION: Tag("sc_interface_version", 1, 1),
    0x0381: Tag("callback_num", 4, 19),
    0x0420: Tag("dpf_result", 1, 1),
    0x0422: Tag("ms_availability_status", 1, 1),
    NETWORK_ERROR_CODE: Tag("network_error_code", 3, 3),
    MESSAGE_PAYLOAD: Tag("message_payload", 0, 0xFFFF),
    0x0425: Tag("delivery_failure_reason", 1, 1),
    0x0426: Tag("more_messages_to_send", 1, 1),
    MESSAGE_STATE: Tag("message_state", 1, 1),
    0x0501: Tag("ussd_service_op", 1, 1),
    0x130C: Tag("alert_on_message_delivery", 0, 1),  # 0 by the text, 1 seen
}
