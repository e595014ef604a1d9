"""The texts of every problem code, in English and Chinese: CODES for whole answers (with their status), FIELD_CODES for single fields.

Long because it is one table: every code of the API stands here once, in both languages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldText:
    """What is wrong with a field and what to do; `{value}` and facts are filled in."""

    detail: str
    detail_zh: str
    remedy: str
    remedy_zh: str


@dataclass(frozen=True, slots=True)
class CodeText:
    """A whole answer: status, title, detail and remedy (may be empty)."""

    status: int
    title: str
    title_zh: str
    detail: str
    detail_zh: str
    remedy: str = ""
    remedy_zh: str = ""


CODES: dict[str, CodeText] = {
    "validation_failed": CodeText(
        422, "The request has faults", "请求有误",
        "{count} field(s) are wrong; `errors` lists every one", "有 {count} 处错误，详见 errors",
        "correct them and send the request again", "请全部更正后重新发送",
    ),
    "json_invalid": CodeText(
        400, "Not JSON", "不是合法的 JSON",
        "the body cannot be read as JSON: {why}", "请求体无法按 JSON 解析：{why}",
        "send one JSON object in UTF-8", "请发送一个 UTF-8 编码的 JSON 对象",
    ),
    "json_duplicate_key": CodeText(
        400, "A key stands twice", "键重复",
        "the key `{key}` stands twice in one JSON object", "同一个 JSON 对象里键 `{key}` 出现了两次",
        "keep one of them", "请只保留一个",
    ),
    "json_too_deep": CodeText(
        400, "Nested too deeply", "嵌套过深",
        "the JSON is nested deeper than this API has any use for", "JSON 嵌套层数超过上限",
        "see the schema at /openapi.json", "请参照 /openapi.json",
    ),
    "body_too_large": CodeText(
        413, "Body too large", "请求体过大",
        "the body is larger than {limit} octets", "请求体超过 {limit} 字节",
        "split the batch, or send large content as media", "请拆分批次，或以媒体方式发送大内容",
    ),
    "body_slow": CodeText(
        408, "Body too slow", "请求体过慢",
        "the body did not arrive within {limit}", "请求体未在 {limit} 内到达", "send it again", "请重新发送",
    ),
    "content_type": CodeText(
        415, "Wrong content type", "内容类型不支持",
        "the content type is `{value}`", "内容类型为 `{value}`",
        "send `Content-Type: application/json` in UTF-8", "请使用 `Content-Type: application/json`（UTF-8）",
    ),
    "content_encoding": CodeText(
        415, "Encoded body", "请求体被编码",
        "bodies with Content-Encoding `{value}` are not read", "不接受 Content-Encoding 为 `{value}` 的请求体",
        "send the body plain", "请发送未压缩的请求体",
    ),
    "key_missing": CodeText(
        401, "No API key", "缺少密钥",
        "the request carries no `Authorization: Bearer` key", "请求没有携带 `Authorization: Bearer` 密钥",
        "send `Authorization: Bearer mck_…`; `msgcenter keys create` makes a key",
        "请携带 `Authorization: Bearer mck_…`；密钥由 `msgcenter keys create` 生成",
    ),
    "key_invalid": CodeText(
        401, "API key refused", "密钥无效",
        "the key is malformed, unknown, expired or revoked", "密钥格式错误、不存在、已过期或已吊销",
        "ask the operators for a new key", "请向运维申请新的密钥",
    ),
    "signature_invalid": CodeText(
        401, "Request not signed", "请求签名无效",
        "this caller signs its requests, and this one is not, or not now: {why}", "该调用方的请求必须签名，本请求未签名或已过期：{why}",
        "sign `METHOD /path?query`, a line feed and the body as Standard Webhooks says; see SECURITY.md",
        "请按 Standard Webhooks 对 `METHOD /path?query`、换行和请求体签名，参见 SECURITY.md",
    ),
    "signature_replayed": CodeText(
        401, "Signature used before", "签名已被使用",
        "a request with this webhook-id was taken already", "带此 webhook-id 的请求已被受理过",
        "sign every try anew, with an id of its own; the Idempotency-Key stays", "每次重试请使用新的 webhook-id 重新签名，幂等键保持不变",
    ),
    "caller_disabled": CodeText(
        403, "Caller disabled", "调用方已停用",
        "caller `{caller}` is unknown or disabled in callers.yaml", "调用方 `{caller}` 未配置或已停用",
        "ask the operators to enable it", "请联系运维启用",
    ),
    "scope_missing": CodeText(
        403, "Scope missing", "权限不足",
        "this needs scope `{needed}`; the key has: {scopes}", "需要权限 `{needed}`；该密钥拥有：{scopes}",
        "use a key that has the scope", "请使用拥有该权限的密钥",
    ),
    "category_not_granted": CodeText(
        403, "Category not granted", "未获授权的消息类别",
        "the caller may send only: {granted}", "该调用方只可发送：{granted}",
        "use one of these, or ask the operators for the grant (callers.yaml)", "请改用上述类别，或联系运维授权",
    ),
    "not_found": CodeText(
        404, "Not found", "不存在",
        "there is no {what} `{id}` that this key may see", "没有该密钥可见的{what} `{id}`",
        "check the id", "请检查标识",
    ),
    "route_not_found": CodeText(
        404, "No such path", "路径不存在",
        "the API has no `{path}`", "接口没有 `{path}`", "see /openapi.json or /docs", "请参照 /openapi.json 或 /docs",
    ),
    "method_not_allowed": CodeText(
        405, "Method not allowed", "方法不支持",
        "`{path}` takes {allowed}", "`{path}` 只接受 {allowed}", "see /openapi.json or /docs", "请参照 /openapi.json",
    ),
    "idempotency_key_invalid": CodeText(
        400, "Idempotency-Key refused", "幂等键无效",
        "the Idempotency-Key must be 1-255 visible ASCII characters", "幂等键须为 1-255 个可见 ASCII 字符",
        "a UUID is a good one", "建议使用 UUID",
    ),
    "idempotency_busy": CodeText(
        409, "Same key in flight", "同一幂等键正在处理",
        "another request with this Idempotency-Key is being worked on", "带此幂等键的另一个请求正在处理",
        "send the same request again after Retry-After seconds", "请在 Retry-After 秒后重发同一请求",
    ),
    "idempotency_mismatch": CodeText(
        422, "Key used with another body", "幂等键对应了不同的请求",
        "this Idempotency-Key was used with another request", "此幂等键已用于另一个请求",
        "use a new key for a new request", "新的请求请使用新的幂等键",
    ),
    "too_late": CodeText(
        409, "Too late", "为时已晚",
        "message `{id}` has left already; its status is {status}", "消息 `{id}` 已发出，状态为 {status}",
        "recall it where the channel can", "如通道支持，请使用撤回",
    ),
    "already_final": CodeText(
        409, "Already over", "已经结束",
        "message `{id}` ended already: {status}", "消息 `{id}` 已结束：{status}",
        "nothing is left to cancel", "已无可取消的内容",
    ),
    "not_left": CodeText(
        409, "Nothing to take back", "没有可撤回的内容",
        "message `{id}` has not left", "消息 `{id}` 尚未发出",
        "cancel it, if it is still waiting", "如仍在等待，请取消",
    ),
    "recall_unsupported": CodeText(
        409, "Cannot be recalled", "不支持撤回",
        "message `{id}` left by channel `{channel}`, which cannot take messages back", "消息 `{id}` 经通道 `{channel}` 发出，该通道不支持撤回",
        "GET /v1/channels says which kinds can", "GET /v1/channels 列出支持撤回的通道类型",
    ),
    "group_state": CodeText(
        409, "Not in this state", "当前状态不允许",
        "group `{id}` is {state}", "群 `{id}` 当前状态为 {state}",
        "look at the group: only an active one can be changed or dissolved", "请查看该群：只有 active 状态可修改或解散",
    ),
    "group_unsupported": CodeText(
        422, "The channel cannot do this", "通道不支持",
        "channels of kind `{kind}` cannot {ability} a group", "`{kind}` 类型的通道不支持对群执行 {ability}",
        "kinds that can: {known}", "支持的类型：{known}",
    ),
    "approval_same_key": CodeText(
        403, "Needs another key", "须由另一密钥批准",
        "the dissolution of group `{id}` was asked for with this key", "群 `{id}` 的解散正是由此密钥申请的",
        "approve it with another key that has the scope groups", "请使用另一个拥有 groups 权限的密钥批准",
    ),
    "approval_not_asked": CodeText(
        409, "Nothing to approve", "没有待批准的申请",
        "no dissolution of group `{id}` waits for approval", "群 `{id}` 没有待批准的解散申请",
        "ask for it first: POST /v1/groups/{id}:dissolve; a request lapses after 24 h",
        "请先申请：POST /v1/groups/{id}:dissolve；申请 24 小时内有效",
    ),
    "public_url_missing": CodeText(
        409, "No public address", "未配置对外地址",
        "pages for customers need an address that they can reach", "面向客户的页面需要客户可访问的地址",
        "set api.public_url in msgcenter.yaml", "请在 msgcenter.yaml 配置 api.public_url",
    ),
    "review_same_key": CodeText(
        403, "Needs another key", "须由另一密钥审核",
        "the message of review `{id}` was sent with this key", "审核项 `{id}` 的消息正是由此密钥发送的",
        "approve it with another key that has the scope review", "请使用另一个拥有 review 权限的密钥批准",
    ),
    "review_decided": CodeText(
        409, "Decided already", "已有审核结论",
        "review `{id}` is {state} already", "审核项 `{id}` 的结论已是 {state}",
        "a decision stands; send the message again to have it looked at again", "结论不可更改，如需重新审核请重新发送消息",
    ),
    "not_sealed": CodeText(
        409, "No seal", "没有封存",
        "group `{id}` has no seal: it was not dissolved here", "群 `{id}` 没有封存：未经本系统解散",
        "a seal is made when the dissolution begins", "解散开始时才会封存",
    ),
    "undo_late": CodeText(
        409, "Too late to undo", "已过撤销期",
        "the dissolution of group `{id}` can no longer be undone", "群 `{id}` 的解散已无法撤销",
        "make a new group", "请新建群",
    ),
    "already_replayed": CodeText(
        409, "Already replayed", "已重放",
        "dead letter `{id}` was replayed already", "死信 `{id}` 已重放",
        "look at the message it belongs to", "请查看对应的消息",
    ),
    "not_replayable": CodeText(
        422, "Cannot be replayed", "无法重放",
        "dead letter `{id}` does not hold a message: {why}", "死信 `{id}` 不含可读的消息：{why}",
        "it can only be kept or deleted", "只能保留或删除",
    ),
    "no_event_channel": CodeText(
        409, "Nothing delivers events", "未配置事件投递通道",
        "no enabled channel delivers events to subscriptions", "没有启用的通道可以投递事件",
        "ask the operators for a channel of kind platform (channels.yaml), or read GET /v1/events",
        "请联系运维在 channels.yaml 配置 platform 通道，或使用 GET /v1/events 拉取",
    ),
    "bus_unavailable": CodeText(
        503, "Not accepted", "未受理",
        "the message bus did not confirm the message in time", "消息总线未能及时确认",
        "send the same request with the same Idempotency-Key again after Retry-After seconds",
        "请在 Retry-After 秒后以同一幂等键重发",
    ),
    "state_unavailable": CodeText(
        503, "State away", "状态服务不可用",
        "the shared state did not answer; nothing may be assumed", "共享状态未应答，结果未知",
        "send the same request with the same Idempotency-Key again after Retry-After seconds",
        "请在 Retry-After 秒后以同一幂等键重发",
    ),
    "store_unavailable": CodeText(
        503, "Store away", "存储不可用",
        "the store did not answer", "存储未应答", "try again after Retry-After seconds", "请在 Retry-After 秒后重试",
    ),
    "overloaded": CodeText(
        503, "Overloaded", "系统繁忙",
        "nothing more can be accepted at present: {why}", "暂时无法受理：{why}",
        "try again after Retry-After seconds", "请在 Retry-After 秒后重试",
    ),
    "quota_exceeded": CodeText(
        429, "Quota exceeded", "超出配额",
        "the caller may send {limit}", "该调用方配额：{limit_zh}",
        "try again after Retry-After seconds; GET /v1/callers/me shows what is left",
        "请在 Retry-After 秒后重试；余量见 GET /v1/callers/me",
    ),
    "batch_over_quota": CodeText(
        422, "Batch larger than the quota", "批量超过配额",
        "{count} messages at once never fit into the caller's quota of {limit}", "一次 {count} 条永远超出该调用方 {limit} 条的配额",
        "split the batch, or ask the operators for a larger quota (callers.yaml)", "请拆分批次，或联系运维提高配额",
    ),
    "caller_overloaded": CodeText(
        429, "Too many requests in flight", "在途请求过多",
        "{count} messages of this caller wait for the bus already, its share at present", "该调用方已有 {count} 条在等待受理，已达当前份额",
        "send fewer at once, and again after Retry-After seconds", "请减少并发，并在 Retry-After 秒后重试",
    ),
    "media_too_large": CodeText(
        413, "File too large", "文件过大",
        "the file is larger than {limit} octets, the most for its kind", "文件超过该类型上限 {limit} 字节",
        "send a smaller file", "请压缩或拆分文件",
    ),
    "media_refused": CodeText(
        415, "File not taken", "文件不被接受",
        "{why}", "文件不被接受：{why}",
        "send a file of a known type, declared as what it is", "请上传受支持且类型声明一致的文件",
    ),
    "media_malformed": CodeText(
        400, "Upload cannot be read", "上传内容无法读取",
        "{why}", "上传内容无法读取：{why}",
        "send the file as the body, or as one part with a file name of multipart/form-data",
        "请以请求体直接上传，或使用 multipart/form-data 中带文件名的一个部分",
    ),
    "media_unavailable": CodeText(
        503, "Media store away", "媒体存储不可用",
        "the media store could not be read or written", "媒体存储无法读写",
        "try again after Retry-After seconds", "请在 Retry-After 秒后重试",
    ),
    "range_unsatisfiable": CodeText(
        416, "No such range", "范围无效",
        "the file has {size} octets", "文件共 {size} 字节", "ask for a range within it", "请求范围须在文件之内",
    ),
    "cursor_expired": CodeText(
        410, "Events no longer kept", "事件已不再保留",
        "{missed} events behind this cursor are no longer kept", "该游标之后有 {missed} 个事件已不再保留",
        "start again with from=earliest; GET /v1/messages tells what became of messages meanwhile",
        "请用 from=earliest 重新开始；期间消息的结果可查 GET /v1/messages",
    ),
    "link_invalid": CodeText(
        403, "Not a link of ours", "链接无效",
        "the signature of this link does not fit", "链接签名不符", "ask for a new link", "请重新获取链接",
    ),
    "link_expired": CodeText(
        410, "Link over", "链接已过期",
        "this link has ended", "链接已过期", "ask for a new link", "请重新获取链接",
    ),
    "internal": CodeText(
        500, "Internal error", "内部错误",
        "something failed that should not; it is in the log under this trace_id", "发生内部错误，请凭 trace_id 查询日志",
        "report the trace_id to the operators", "请将 trace_id 告知运维",
    ),
}  # fmt: skip

FIELD_CODES: dict[str, FieldText] = {
    "links_off": FieldText(
        "cannot be a short link: this installation has no public address", "无法生成短链：本系统未配置对外地址",
        "set api.public_url in msgcenter.yaml, or write the address into the text",
        "请在 msgcenter.yaml 配置 api.public_url，或把地址直接写入文本",
    ),
    "link_host": FieldText(
        "leads to a host that short links may not lead to", "短链不允许指向该域名",
        "use one of: {known}; they stand in policy.yaml under links.allow",
        "可用域名：{known}；见 policy.yaml 的 links.allow",
    ),
    "link_unused": FieldText(
        "is not used: the text does not contain {name}", "未被使用：文本中没有 {name}",
        "write {name} where the link shall stand, or remove the entry", "请在文本相应位置写上 {name}，或删除该项",
    ),
    "missing": FieldText("is missing", "缺失", "add `{name}`", "请补充 `{name}`"),
    "unknown_field": FieldText("is not a field here", "不是此处的字段", "{hint}", "{hint}"),
    "wrong_type": FieldText("must be {expected}", "类型须为 {expected}", "write {expected}", "请写成 {expected}"),
    "too_long": FieldText("is longer than {limit}", "超过 {limit} 的上限", "shorten it", "请缩短"),
    "too_short": FieldText("is shorter than {limit}", "少于 {limit}", "give at least {limit}", "至少为 {limit}"),
    "out_of_range": FieldText("must be {expected}", "须为 {expected}", "choose a value in this range", "请取此范围内的值"),
    "not_one_of": FieldText(
        "must be one of: {known}", "须为以下之一：{known}", "use one of: {known}", "请使用：{known}"
    ),
    "pattern": FieldText("has characters that do not belong there", "含有不允许的字符", "{expected}", "{expected}"),
    "invalid": FieldText("is not valid: {why}", "无效：{why}", "see the schema at /openapi.json", "请参照 /openapi.json"),
    "address_invalid": FieldText(
        "is not an address: {why}", "不是合法地址：{why}",
        "write scheme:value, for example tel:+8613800138000, or a bare 11-digit mobile number",
        "请写成 scheme:value，例如 tel:+8613800138000，或 11 位手机号",
    ),
    "number_invalid": FieldText(
        "is not a telephone number that can be reached: {why}", "不是可到达的号码：{why}",
        "write an 11-digit mobile number, a 13-digit IoT number, or +country and number",
        "请写 11 位手机号、13 位物联网号码，或 +国家码加号码",
    ),
    "scheme_unreachable": FieldText(
        "no running channel reaches `{scheme}:` addresses", "没有通道能到达 `{scheme}:` 地址",
        "schemes that can be reached: {known}", "可到达的地址类型：{known}",
    ),
    "category_required": FieldText(
        "is missing, and the caller has no default", "缺失，且该调用方没有默认类别",
        "give one of: {granted}", "请填写：{granted}",
    ),
    "category_unknown": FieldText(
        "is not a category", "不是已知的类别", "use one of: {granted}", "请使用：{granted}"
    ),
    "category_not_granted": FieldText(
        "the caller may not send this category", "该调用方无权发送此类别",
        "it may send: {granted}", "可发送：{granted}",
    ),
    "channel_unknown": FieldText(
        "no running channel is of this kind", "没有此类型的通道", "known kinds: {known}", "已知类型：{known}"
    ),
    "channel_unreachable": FieldText(
        "does not reach `{scheme}:` addresses", "无法到达 `{scheme}:` 地址",
        "kinds that do: {known}", "可到达的类型：{known}",
    ),
    "channel_not_allowed": FieldText(
        "may not be used for category `{category}`", "类别 `{category}` 不允许使用此通道",
        "allowed kinds: {known}", "允许的类型：{known}",
    ),
    "channel_repeated": FieldText("stands twice", "重复", "name each kind once", "每种类型只写一次"),
    "content_not_supported": FieldText(
        "cannot carry content of type `{type}`", "不支持 `{type}` 类型的内容",
        "kinds that can: {known}", "支持的类型：{known}",
    ),
    "template_unknown": FieldText(
        "no template has this name", "没有此名称的模板", "known templates: {known}", "已知模板：{known}"
    ),
    "template_version": FieldText(
        "the template has no such version", "模板没有此版本", "its versions: {known}", "现有版本：{known}"
    ),
    "template_not_valid": FieldText(
        "no version asked for is valid at the time of sending", "发送时没有有效的版本",
        "see the validity of its versions with `msgcenter templates show`", "用 `msgcenter templates show` 查看各版本的有效期",
    ),
    "template_place": FieldText(
        "is not for the organisation of this account", "不适用于该账号所属的组织",
        "send from another account, or another template", "请更换账号或模板",
    ),
    "variable_missing": FieldText(
        "template {template} needs this variable", "模板 {template} 需要此变量",
        "give {expected}", "请填写：{expected}",
    ),
    "variable_unknown": FieldText(
        "template {template} has no such variable", "模板 {template} 没有此变量",
        "its variables: {known}", "模板变量：{known}",
    ),
    "variable_wrong": FieldText(
        "does not fit what template {template} declares", "与模板 {template} 的声明不符",
        "give {expected}", "请填写：{expected}",
    ),
    "plan_shape": FieldText(
        "is neither one step nor one group of steps", "既不是一个步骤，也不是一组步骤",
        "give exactly one of: {known}", "请只给出其中一个：{known}",
    ),
    "plan_step_only": FieldText(
        "belongs to a step, not to a group of steps", "属于单个步骤，不属于步骤组",
        "write it with the steps inside, those with a channel", "请写在组内带 channel 的步骤上",
    ),
    "plan_any": FieldText(
        "goes with `of` only", "只能与 `of` 同时使用", 'write {{"any": 2, "of": [...]}}', '请写成 {{"any": 2, "of": [...]}}'
    ),
    "plan_conflict": FieldText(
        "cannot be given together with a plan, which says it already", "不可与 plan 同时给出", "leave it out", "请省略"
    ),
    "plan_group": FieldText(
        "a plan reaches a person, not a group", "plan 只能发给个人，不能发往群",
        "write to the group without a plan", "发往群时请不要使用 plan",
    ),
    "plan_too_deep": FieldText(
        "is nested deeper than {limit} levels", "嵌套超过 {limit} 层", "make it flatter", "请减少层数"
    ),
    "plan_too_many": FieldText(
        "has more than {limit} steps", "步骤超过 {limit} 个", "leave out some", "请减少步骤"
    ),
    "success_unseen": FieldText(
        "`{kind}` never reports this", "`{kind}` 不会上报此结果", "wait for one of: {known}", "可等待：{known}"
    ),
    "signal_subject": FieldText(
        "is needed: whom or what the signal is about", "必填：信号针对的对象",
        "give customer, address, message, reference or opportunity",
        "请给出 customer、address、message、reference 或 opportunity",
    ),
    "opportunity_way": FieldText(
        "is needed: how the customer is to be reached", "必填：如何触达客户",
        "give either a plan, or channels", "请给出 plan 或 channels 之一",
    ),
    "opportunity_over": FieldText(
        "is over: the opportunity is not valid any more", "商机已失效", "do not send it", "请勿再下发"
    ),
    "account_unknown": FieldText(
        "is not an account", "不是已知的账号", "accounts that fit: {candidates}", "可用账号：{candidates}"
    ),
    "account_mismatch": FieldText(
        "belongs to kind `{kind}`, which is not among the channels", "属于 `{kind}`，不在所选通道内",
        "accounts that fit: {candidates}", "可用账号：{candidates}",
    ),
    "account_inactive": FieldText(
        "is {state}: it receives, but is not sent from", "状态为 {state}，不可用于发送",
        "accounts that fit: {candidates}", "可用账号：{candidates}",
    ),
    "account_ambiguous": FieldText(
        "is needed: several accounts could send this", "必填：有多个账号可发送",
        "name one of: {candidates}", "请指定：{candidates}",
    ),
    "account_missing": FieldText(
        "is needed, but there is no account of kind {kinds}", "必填，但没有 {kinds} 类型的账号",
        "ask the operators to add one (accounts.yaml)", "请联系运维添加账号（accounts.yaml）",
    ),
    "customer_unknown": FieldText(
        "is not a customer of the directory", "客户目录中没有该客户",
        "make it with PUT /v1/customers/{{id}}, or give its address", "请先用 PUT /v1/customers/{{id}} 建立，或直接填写地址",
    ),
    "group_unknown": FieldText(
        "is not a group of this caller", "不是该调用方的群",
        "use the id that POST /v1/groups or GET /v1/groups gave", "请使用 POST /v1/groups 或 GET /v1/groups 返回的标识",
    ),
    "group_closed": FieldText(
        "is {state}: nothing can be sent there", "状态为 {state}，无法发送", "use an active group", "请使用 active 状态的群"
    ),
    "group_conflict": FieldText(
        "cannot be given for a group, which says it already", "发往群时不可指定，由群决定", "leave it out", "请省略"
    ),
    "group_kind_needed": FieldText(
        "is needed: several kinds of channel can make groups", "必填：有多种通道可建群",
        "name one of: {known}", "请指定：{known}",
    ),
    "group_kind_unable": FieldText(
        "cannot make groups", "不支持建群", "kinds that can: {known}", "支持的类型：{known}"
    ),
    "members_conflict": FieldText(
        "cannot be given together with members, which is the whole list", "members 为完整名单，不可与之同时给出",
        "give either members, or add and remove", "请只给出 members，或 add 与 remove",
    ),
    "nothing_to_do": FieldText(
        "changes nothing", "没有任何修改", "give name, owner, members, add or remove", "请给出 name、owner、members、add 或 remove"
    ),
    "time_past": FieldText(
        "lies in the past", "已是过去的时间", "give a time in the future, or leave it out to send now",
        "请填写将来的时间，或省略以立即发送",
    ),
    "time_far": FieldText(
        "lies more than {limit} ahead", "超过 {limit} 之后", "choose an earlier time", "请提前"
    ),
    "time_invalid": FieldText(
        "is not a time with its zone", "不是带时区的时间", "write RFC 3339: 2026-01-31T09:30:00+08:00",
        "请按 RFC 3339 书写：2026-01-31T09:30:00+08:00",
    ),
    "duration_invalid": FieldText(
        "is not a duration from {least} to {most}", "不是 {least} 至 {most} 的时长",
        "write it like 30s, 10m, 2h or 7d, or as a number of seconds", "请写成 30s、10m、2h、7d，或秒数",
    ),
    "reply_unknown": FieldText(
        "is not an inbound message of this caller", "不是该调用方收到的消息",
        "use the id of a received message", "请使用收到的消息的标识",
    ),
    "reply_conflict": FieldText(
        "cannot be given together with reply_to, which says it already", "与 reply_to 重复",
        "leave it out", "请省略",
    ),
    "cursor_invalid": FieldText(
        "is not a cursor of this list", "不是此列表的游标", "use next_cursor of an earlier answer, or leave it out",
        "请使用之前返回的 next_cursor，或省略",
    ),
    "media_unknown": FieldText(
        "is not a file of this caller", "不是该调用方可用的文件",
        "upload it first: POST /v1/media", "请先上传：POST /v1/media",
    ),
    "media_kind": FieldText(
        "is {type} and cannot be sent as `{kind}`", "类型为 {type}，不能作为 `{kind}` 发送",
        "choose a fitting kind, or `file`", "请选择相符的 kind，或使用 `file`",
    ),
    "too_many": FieldText("is one too many: the most is {limit}", "超过 {limit} 的上限", "remove some first", "请先减少"),
    "time_order": FieldText("lies before its beginning", "早于开始时间", "give a later time", "请填写更晚的时间"),
    "zone_unknown": FieldText(
        "is not a time zone", "不是已知的时区", "write an IANA name, such as Asia/Shanghai", "请使用 IANA 名称，例如 Asia/Shanghai"
    ),
    "path_invalid": FieldText(
        "is not a path of at most five names", "不是最多五级的组织路径",
        "write 省/地市/区县/网格/厅店, from the top", "请自上而下书写：省/地市/区县/网格/厅店",
    ),
    "address_no_person": FieldText(
        "is not an address of a person", "不是个人地址", "schemes that are: {known}", "可用的地址类型：{known}"
    ),
    "address_taken": FieldText(
        "belongs to customer `{holder}` at that time", "当时属于客户 `{holder}`",
        "same person: link the two; the number changed hands: give valid_from, later than the other's",
        "若为同一人，请关联两个客户；若号码已易主，请填写更晚的 valid_from",
    ),
    "customer_id_invalid": FieldText(
        "is not an id", "不是合法的客户标识",
        "use 1 to 128 characters, without blanks and / : ? # % | or braces", "请使用 1 至 128 个字符，不含空白、花括号和 / : ? # % |",
    ),
    "customer_id_reserved": FieldText(
        "begins like the ids that are made here, and there is no such customer", "该前缀为系统保留，且客户不存在",
        "choose an id that does not begin with cus_", "请使用不以 cus_ 开头的标识",
    ),
    "customer_nameless": FieldText(
        "is missing, and so is an address", "缺失，且没有地址", "give an id, an address, or both", "请填写标识或地址"
    ),
    "link_self": FieldText("is the same customer", "与自身相同", "name another one", "请指定另一个客户"),
    "caller_unknown": FieldText(
        "is not in callers.yaml", "不在 callers.yaml 中", "known callers: {known}", "已知调用方：{known}"
    ),
    "scope_not_held": FieldText(
        "the caller does not have this scope", "该调用方没有此权限", "it has: {known}", "拥有：{known}"
    ),
}  # fmt: skip

#: Facts that are words, wherever they come from, and what they are called in Chinese; `{…}` stands for anything.
PHRASES: dict[str, str] = {
    "account": "账号",
    "version": "版本",
    "subscription": "订阅",
    "configuration history": "配置历史",
    "customer": "客户",
    "dead letter": "死信",
    "group": "群",
    "message": "消息",
    "inbox item": "站内信",
    "key": "密钥",
    "media": "文件",
    "review": "待审内容",
    "problem": "问题",
    "shutting down": "正在停止",
    "the backlog is full": "积压已满",
    "the bus takes nothing at present": "总线暂时无法接收",
    "a part did not answer in time": "某个部件未及时应答",
    "too many streams are open": "打开的事件流过多",
    "no part has a file name": "没有带文件名的部分",
    "the upload ended early": "上传提前结束",
    "the head of a part cannot be read": "某部分的头无法读取",
    "a part must not be encoded": "各部分不得另行编码",
    "half of a surrogate pair is no character": "半个代理对不是字符",
    "a number is too long": "数字过长",
    "{message} (line {line} column {column})": "第 {line} 行第 {column} 列：{message}",
    "not UTF-8 at octet {at}": "第 {at} 字节处不是 UTF-8",
    "{word} is not JSON": "{word} 不是 JSON",
    # fields
    "{count} octets": "{count} 字节",
    "write it like {example}": "请写成 {example}",
    "lone surrogate": "含有不成对的代理字符",
    "it is not a URL": "不是网址",
    "it must be an http or https URL": "须为 http 或 https 网址",
    "it holds blanks, backslashes or letters that are to be %-encoded": "含有空白、反斜杠或须以 % 编码的字符",
    "it cannot be written as JSON in UTF-8": "无法以 UTF-8 编码的 JSON 表示",
    "it is nested deeper than {limit}": "嵌套超过 {limit} 层",
    "it has no scheme": "缺少地址类型前缀",
    "needs one of the schemes {known}": "地址类型须为 {known} 之一",
    "the value must be 1-{most} characters without blanks": "值须为 1 至 {most} 个字符，不含空白",
    "needs a number such as {example}": "须为 {example} 这样的号码",
    "text": "文本",
    "an integer": "整数",
    "true or false": "true 或 false",
    "a list": "列表",
    "an object": "对象",
    "a number": "数字",
    "a finite number": "有限数字",
    "an integer from 1 to {most}": "1 至 {most} 的整数",
    "1 to {most}": "1 至 {most}",
    "pattern {pattern}": "须匹配 {pattern}",
    "all or unread": "all 或 unread",
    "a position": "位置序号",
    "one of {known}": "下列之一：{known}",
    "there are no {what}": "这里没有可用的名称",
    "did you mean `{name}`?": "是否想写 `{name}`？",
    "known fields: {known}": "可用字段：{known}",
    # telephone numbers
    "it cannot be read as a number": "无法识别为号码",
    "too long": "过长",
    "no such range is in use": "没有这个号段",
    "not in use": "未启用",
    "no such country code": "没有这个国家码",
    "too few digits": "位数不足",
    "too many digits": "位数过多",
    "an area code is missing": "缺少区号",
    "wrong number of digits": "位数不对",
    # places of events
    "it leads to an address that may not be called": "指向不允许访问的地址",
    "callback URL: needs {schemes} and a host": "须为 {schemes} 网址，并有主机名",
    "callback URL: credentials do not belong in a URL": "网址中不得含用户名或密码",
    "callback URL: {error}": "网址无法读取：{error}",
    # versions of the configuration
    "there is no version {number}; the newest are {known}": "没有版本 {number}，最新的是 {known}",
    "there is no other version to go back to": "没有可回退的其他版本",
    # signatures
    "{header}: missing or unreadable": "{header} 缺失或无法读取",
    "{header}: missing or not seconds since 1970": "{header} 缺失，或不是 1970 年以来的秒数",
    "{header}: more than {most} s away from our clock": "{header} 与我方时钟相差超过 {most} 秒",
    "{header}: no v1 signature by a known secret": "{header} 没有由已知密钥作出的 v1 签名",
    # files
    "declared as {declared}, but it is {mime}": "声明为 {declared}，实际为 {mime}",
    "{declared}: not recognised as one of {takes}": "{declared}：不属于可接受的类型 {takes}",
    "the file has {size} octets; the least is {least}": "文件只有 {size} 字节，至少须有 {least} 字节",
    "the part cannot be read": "该部分无法读取",
    # dead letters
    "it is a record, not a message": "它是记录，不是消息",
    "it has expired; give expires_in": "已过期，请填写 expires_in",
    "it cannot be read": "无法读取",
}
