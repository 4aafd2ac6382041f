import NeedModel
import SyncCore

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014): the
/// same numbers in every run.
struct Chance: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    /// A stream of its own for each thing that is numbered, so that any process can make any need
    /// again without making those before it.
    init(_ seed: UInt64, _ number: Int) {
        var mixer = Chance(seed &+ UInt64(truncatingIfNeeded: number) &* 0xD6E8_FEB8_6659_FD93)
        self.init(mixer.next())
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

    mutating func pick<Item>(_ items: [Item]) -> Item { items[below(items.count)] }
}

/// What residents need, made up: every text, name and number is drawn from lists or at random.
///
/// A need has 11 fields: the eight that a grid worker gives when recording one, and three of a
/// newer version of the program (household, source, wished day), which this one merges as opaque
/// bytes. An edit sets two fields of one need.
struct Workload: Sendable {
    enum Text: String, Sendable {
        /// Sentences put together from phrases, as people on the same job write them.
        case phrases
        /// Characters by Zipf's law over the common ones: nothing to find twice.
        case free
    }

    var seed: UInt64
    var text: Text

    static let fieldsPerNeed = 11
    static let fieldsPerEdit = 2
    /// Fields that this version does not know; numbers far from those it will give out next.
    private static let household: UInt32 = 40
    private static let source: UInt32 = 41
    private static let wishedDay: UInt32 = 42

    static let categories = [
        "lighting", "water", "elderly", "road", "heating", "waste", "medical", "power", "housing",
        "livestock", "schooling", "documents",
    ]

    /// When the territory was imported, and the devices' days begin. Milliseconds since 1970; long
    /// ago, so that nothing of the workload lies in the ledger's future.
    static let beginMilliseconds: Int64 = 1_700_000_000_000

    /// When need `number` of a device was recorded: some minutes apart, so an id follows from
    /// replica and number alone; after every thousand a day goes by, in which they are edited.
    static func recordedMilliseconds(_ number: UInt64) -> Int64 {
        var chance = Chance(number)
        let days = Int64((max(1, number) - 1) / 1_000)
        return beginMilliseconds + days * 86_400_000 + Int64(number) * 240_000
            + Int64(chance.below(200_000))
    }

    /// When a person wrote so many edits, one every few minutes, the last of them shortly before
    /// a moment.
    static func editedMilliseconds(_ count: Int, before end: Int64) -> [Int64] {
        var chance = Chance(0xED17, count)
        var time = end
        return (0..<count).map { _ -> Int64 in
            time -= 60_000 + Int64(chance.below(200_000))
            return time
        }.reversed()
    }

    /// The fields of a need, sorted by field, as bytes of the protocol.
    func need(_ number: Int, grid: String) -> [Change] {
        var chance = Chance(seed, number)
        let values: [(UInt32, FieldValue)] = [
            (NeedField.text.rawValue, .text(words(&chance))),
            (NeedField.category.rawValue, .text(chance.pick(Self.categories))),
            (NeedField.grid.rawValue, .text(grid)),
            (NeedField.resident.rawValue, .text(Self.resident(&chance))),
            (NeedField.phone.rawValue, .text(Self.phone(&chance))),
            (NeedField.address.rawValue, .text(Self.address(&chance))),
            (NeedField.urgency.rawValue, .integer(Int64([1, 1, 1, 2, 2, 3][chance.below(6)]))),
            (NeedField.location.rawValue, Self.location(&chance)),
            (Self.household, .integer(Int64(1 + chance.below(6)))),
            (Self.source, .text(chance.pick(["visit", "visit", "visit", "phone", "hall"]))),
            (Self.wishedDay, .integer(Int64(20_700 + chance.below(60)))),
        ]
        return values.map { Change(field: $0.0, value: $0.1.bytes) }
    }

    /// An edit of a need: one field that follows from the need, so that two people who correct it
    /// meet there, and one more. What is edited is mostly small: an urgency, a number, a house.
    ///
    /// - Parameters:
    ///   - number: Draws the values.
    ///   - need: The need's number.
    func edit(_ number: Int, of need: UInt64) -> [Change] {
        var chance = Chance(seed ^ 0xED17, number)
        func change(_ field: UInt32, _ value: FieldValue) -> Change {
            Change(field: field, value: value.bytes)
        }
        let first: Change
        switch need % 20 {
        case 0..<7:
            first = change(NeedField.urgency.rawValue, .integer(Int64(1 + chance.below(3))))
        case 7..<12: first = change(NeedField.address.rawValue, .text(Self.address(&chance)))
        case 12..<16: first = change(NeedField.phone.rawValue, .text(Self.phone(&chance)))
        case 16..<18:
            first = change(NeedField.category.rawValue, .text(chance.pick(Self.categories)))
        default: first = change(NeedField.text.rawValue, .text(words(&chance)))
        }
        let second: Change
        switch chance.below(4) {
        case 0: second = change(NeedField.resident.rawValue, .text(Self.resident(&chance)))
        case 1: second = change(NeedField.location.rawValue, Self.location(&chance))
        case 2: second = change(Self.household, .integer(Int64(1 + chance.below(6))))
        default: second = change(Self.wishedDay, .integer(Int64(20_700 + chance.below(60))))
        }
        return [first, second].sorted { $0.field < $1.field }
    }

    /// A need as people read it, for peers that store text: one value a field.
    func line(_ number: Int, grid: String) -> [String] {
        need(number, grid: grid).map { Self.readable($0) }
    }

    static func readable(_ change: Change) -> String {
        let bytes = change.value ?? []
        switch change.field {
        case NeedField.urgency.rawValue, household, wishedDay:
            guard case .integer(let value)? = FieldValue(.integer, bytes: bytes) else { return "" }
            return String(value)
        case NeedField.location.rawValue:
            guard case .location(let latitude, let longitude)? = FieldValue(.location, bytes: bytes)
            else { return "" }
            return "\(latitude),\(longitude)"
        default:
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    // MARK: Parts

    private func words(_ chance: inout Chance) -> String {
        switch text {
        case .phrases: Self.sentence(&chance)
        case .free: Self.freeText(&chance)
        }
    }

    /// 20 to 60 characters.
    private static func sentence(_ chance: inout Chance) -> String {
        var sentence = chance.pick(places) + chance.pick(problems) + "，" + chance.pick(since)
        if chance.below(3) > 0 { sentence += "，" + chance.pick(effects) }
        sentence += "，" + chance.pick(wishes)
        while sentence.count < 20 { sentence += "，" + chance.pick(effects) }
        return String(sentence.prefix(60))
    }

    private static func freeText(_ chance: inout Chance) -> String {
        let length = 20 + chance.below(41)
        return String((0..<length).map { _ in Zipf.common.character(&chance) })
    }

    private static func resident(_ chance: inout Chance) -> String {
        let surname = chance.pick(surnames)
        let given = (0..<(chance.below(4) == 0 ? 1 : 2)).map { _ in chance.pick(givenNames) }
        return surname + given.joined()
    }

    private static func phone(_ chance: inout Chance) -> String {
        let digits = String(chance.below(100_000_000))
        return "13\(chance.below(10))" + String(repeating: "0", count: 8 - digits.count) + digits
    }

    private static func address(_ chance: inout Chance) -> String {
        switch chance.below(3) {
        case 0: "平房\(1 + chance.below(40))排\(1 + chance.below(12))号"
        case 1:
            "\(1 + chance.below(30))号楼\(1 + chance.below(6))单元\(1 + chance.below(6))0\(1 + chance.below(4))"
        default: "村东\(1 + chance.below(60))号院"
        }
    }

    /// Within some five kilometres of one place.
    private static func location(_ chance: inout Chance) -> FieldValue {
        .location(
            latitude: 41_100_000 + Int64(chance.below(90_000)),
            longitude: 108_500_000 + Int64(chance.below(120_000)))
    }

    private static let places = [
        "小区里", "村口", "三队", "活动室门前", "学校路口", "东头巷子", "老旧楼", "六号楼", "村卫生室旁",
        "供销社院内", "主路西侧", "广场南边", "草场边上", "水塔下面", "河堤上", "公厕旁边",
    ]
    private static let problems = [
        "路灯不亮", "自来水管冻裂", "下水道堵塞", "垃圾清运不及时", "路面坑洼积水", "暖气不热", "独居老人没人照看",
        "变压器老出故障", "屋顶漏雨", "健身器材损坏", "流浪狗多", "井盖松动", "网络信号很差", "缺少停车位",
        "楼道堆满杂物", "牲畜疫苗没到", "药品买不到", "医保报销材料不全", "围栏被风刮倒", "排水沟渠淤了",
        "孩子放学没人接", "土地流转有纠纷", "公交车班次太少", "水压低得上不了楼",
    ]
    private static let since = [
        "已经三天了", "快一个星期了", "入冬以来一直这样", "上个月报过一次", "从昨天夜里开始", "有十来天了", "今年第二回了",
        "开春到现在", "大雨过后就这样",
    ]
    private static let effects = [
        "晚上老人出门不安全", "做饭都成问题", "孩子上学要绕路", "味道很大没法开窗", "家里老人腿脚不便", "邻居之间闹了矛盾",
        "影响了十几户人家", "车子差点出事", "冬天结冰更危险", "孤寡老人没法自己处理",
    ]
    private static let wishes = [
        "希望尽快来人看看", "请安排人维修", "想问问什么时候能解决", "盼着早点办好", "请帮忙联系有关部门", "希望给个答复",
        "麻烦志愿队上门一趟",
    ]
    private static let surnames = [
        "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "马", "胡", "朱", "郭", "何",
        "高", "林", "白", "乌", "包", "云", "席",
    ]
    private static let givenNames = [
        "秀", "英", "建", "国", "桂", "兰", "志", "强", "玉", "梅", "海", "明", "春", "花", "军", "丽", "永",
        "福", "淑", "珍", "文", "斌", "小", "红", "满", "仓", "宝", "山", "凤", "霞",
    ]
}

/// Zipf's law: the character of rank r comes with a weight of 1/r.
private struct Zipf: Sendable {
    static let common = Zipf()

    private let ranked: [Character]
    /// Sums of the weights up to each rank.
    private let sums: [Double]

    private init() {
        var chance = Chance(3_755)
        ranked = CommonCharacters.all.shuffled(using: &chance)
        var sum = 0.0
        sums = ranked.indices.map { rank in
            sum += 1 / Double(rank + 1)
            return sum
        }
    }

    func character(_ chance: inout Chance) -> Character {
        let point = Double.random(in: 0..<(sums.last ?? 1), using: &chance)
        return ranked[sums.dropLast().partitioningIndex { $0 > point }]
    }
}
