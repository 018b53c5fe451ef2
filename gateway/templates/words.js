// Languages: the markup is English with the Chinese beside it in attributes; what is built here
// asks for its words by key.
const WORDS = {
  starting: ["Starting", "启动中"], warming: ["Warming up", "预热中"],
  ready: ["Ready", "就绪"], lost: ["Engine lost", "引擎失联"],
  cannotStart: ["Cannot start", "无法启动"],
  live: ["live", "实时"], polling: ["every few seconds", "每几秒刷新"], gone: ["not reachable", "无法连接"],
  connecting: ["connecting…", "连接中…"],
  forTime: ["for {0}", "已持续 {0}"],
  left: ["{0} left", "还剩 {0}"], over: ["{0} over time", "已超时 {0}"],
  budgetLeft: ["{0} left of the {1} until healthy", "健康检查时限 {1}，还剩 {0}"],
  budgetOver: ["the {1} until healthy are over by {0}", "已超出健康检查时限 {1}：{0}"],
  usually: ["{0}, last time {1}", "{0}，上次 {1}"], lastTime: ["last time {0}", "上次 {0}"],
  stepNow: ["{0} · {1}", "{0} · {1}"], someStep: ["loading", "加载中"],
  model: ["Model", "模型"], engine: ["Engine", "引擎"], hardware: ["Hardware", "硬件"],
  memory: ["Memory", "内存"], memoryFree: ["{0} of {1} free", "{1}，空闲 {0}"],
  engineMemory: ["Engine’s processes", "引擎进程占用"], gatewayMemory: ["Gateway", "网关"],
  context: ["Rung", "配置档位"], served: ["Engine’s address", "引擎地址"],
  uptime: ["Up for", "已运行"], losses: ["Engine lost", "引擎失联次数"], times: ["{0} ×", "{0} 次"],
  attempt: ["Attempt", "启动次数"], perCall: ["Prompts at once", "并发提示词"],
  noFlight: ["Nothing is asked right now.", "目前没有请求。"],
  oneMore: ["and {0} more", "另有 {0} 个"],
  prompts: ["prompts", "个提示词"], numPrompts: ["Prompts", "提示词"],
  pace: ["about {0} to go at this pace", "按此速度约需 {0}"], trial: ["tried here", "本页试用"],
  whole: ["whole", "已完成"], under_way: ["under way", "进行中"], waiting: ["waiting", "等待中"],
  failed: ["failed", "失败"], blank: ["blank", "空白"], partial: ["partial", "部分"],
  unfinished: ["unfinished", "未完成"],
  deadline: ["{0} to the deadline", "距截止还有 {0}"], deadlineOver: ["the deadline is here", "已到截止时间"],
  abandoned: ["client left", "客户端已断开"], cut: ["deadline", "到截止时间"],
  began: ["Began", "开始"], took: ["Took", "用时"], outcome: ["Outcome", "结果"],
  characters: ["Characters", "字符"], perSecond: ["Characters/s", "字符/秒"], id: ["Request", "请求"],
  noLast: ["No batch yet.", "还没有批次。"],
  peak: ["peak {0} in {1}", "{1}内峰值 {0}"],
  plotCharacters: ["Characters per second over the last minutes, now {0}", "最近几分钟每秒字符数，现在 {0}"],
  plotTokens: ["Tokens per second over the last minutes, now {0}", "最近几分钟每秒词元数，现在 {0}"],
  plotLatency: ["Histogram of {0} latencies", "{0} 个延迟的直方图"],
  ago: ["−{0}", "−{0}"], now: ["now", "现在"],
  latencyText: ["{0} since the start, {1} on average, half within {2}, 95 % within {3}",
    "启动以来 {0} 个，平均 {1}，一半不超过 {2}，95% 不超过 {3}"],
  noLatency: ["Nothing measured yet.", "还没有数据。"],
  noTrouble: ["None.", "无。"], rung: ["start failed ({0}): {1}", "启动失败（{0}）：{1}"],
  lastExit: ["engine ended after {0}: {1}", "引擎运行 {0}后结束：{1}"],
  noLog: ["The engine’s state file is not there: no log to show.", "没有引擎状态文件，无日志可看。"],
  emptyLog: ["No line yet.", "还没有日志。"],
  setting: ["Setting", "设置"], value: ["Value", "值"], empty: ["empty", "空"],
  noneSet: ["All settings have their defaults.", "全部为默认值。"],
  asking: ["Asking… {0}", "请求中… {0}"], stopped: ["Stopped.", "已停止。"],
  nothingAsked: ["Write a prompt first.", "请先输入提示词。"],
  answered: ["{0} answered in {1}", "{0} 个提示词，用时 {1}"], moreAnswers: ["the first {0} are shown", "仅显示前 {0} 个"],
  noAnswer: ["no answer", "无回答"], rawText: ["Raw completion", "模型原始输出"],
  rawUnknown: ["The raw completion is not known: answers come whole (STREAM_ANSWERS=0).",
    "没有原始输出：回答是整体返回的（STREAM_ANSWERS=0）。"],
  total: ["{0} s", "{0} 秒"], firstText: ["first text after {0}", "首字 {0}"], queued: ["waited {0}", "排队 {0}"],
  tokensIn: ["{0} prompt tokens", "输入 {0} 词元"], tokensOut: ["{0} completion tokens", "输出 {0} 词元"],
  chars: ["{0} characters", "{0} 字符"], speed: ["{0} tokens/s", "{0} 词元/秒"],
};
// The phases of a start as the launcher names them.
const STEPS_ZH = {
  "imports": "导入", "engine process": "引擎进程", "worker processes": "工作进程", "weights": "加载权重",
  "compile": "编译", "graphs": "捕获计算图", "memory and warm-up": "分配内存与引擎预热",
  "server": "启动服务", "until healthy": "等待健康检查", "warm-up": "网关预热",
};
let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const say = (key, ...values) => {
  const text = WORDS[key][language === "zh" ? 1 : 0];
  return text.replace(/\{(\d)\}/g, (_, index) => values[index]);
};
const step = (name) => (language === "zh" && Object.hasOwn(STEPS_ZH, name) ? STEPS_ZH[name] : name);

const labels = [["data-zh", (e, s) => { e.textContent = s; }, (e) => e.textContent],
  ["data-zh-placeholder", (e, s) => { e.placeholder = s; }, (e) => e.placeholder]].flatMap(([name, put, get]) =>
  [...document.querySelectorAll(`[${name}]`)].map((e) => ({ put: (s) => put(e, s), en: get(e), zh: e.getAttribute(name) })));
const speak = (wanted) => {
  language = wanted;
  for (const label of labels) label.put(label[language]);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  const button = document.getElementById("language");
  button.textContent = language === "zh" ? "English" : "中文";
  button.lang = language === "zh" ? "en" : "zh-CN";
};
