package import NeedModel

// The words of the domain in both languages. The Chinese ones are those of the field: 点单, 派单,
// 接单, 办结, 评单.

extension NeedStatus {
    package var phrase: Phrase {
        switch self {
        case .recorded: Phrase("recorded", "待派单")
        case .dispatched: Phrase("dispatched", "待接单")
        case .declined: Phrase("declined", "已拒单")
        case .accepted: Phrase("accepted", "已接单")
        case .started: Phrase("started", "办理中")
        case .finished: Phrase("finished", "待评价")
        case .rated: Phrase("rated", "已评价")
        case .withdrawn: Phrase("withdrawn", "已撤回")
        }
    }
}

extension FieldValue.Verdict {
    package var phrase: Phrase {
        switch self {
        case .accepted: Phrase("accepted", "接单")
        case .declined: Phrase("declined", "拒单")
        case .started: Phrase("started", "开始办理")
        case .finished: Phrase("finished", "办结")
        }
    }
}

extension Role {
    package var phrase: Phrase {
        switch self {
        case .worker: Phrase("grid worker", "网格员")
        case .team: Phrase("field team", "志愿服务队")
        case .office: Phrase("office", "站所")
        }
    }
}

extension TerritoryLevel {
    package var phrase: Phrase {
        switch self {
        case .banner: Phrase("banner", "旗")
        case .town: Phrase("town", "镇")
        case .village: Phrase("village", "村/社区")
        case .grid: Phrase("grid", "网格")
        }
    }
}

extension NeedField {
    /// A heading or a label, never a name to type: names are ``NeedModel/NeedField/name``.
    package var phrase: Phrase {
        switch self {
        case .text: Phrase("need", "需求")
        case .category: Phrase("category", "类别")
        case .grid: Phrase("grid", "网格")
        case .resident: Phrase("resident", "居民")
        case .phone: Phrase("phone", "电话")
        case .address: Phrase("address", "地址")
        case .urgency: Phrase("urgency", "紧急程度")
        case .location: Phrase("location", "位置")
        case .withdrawal: Phrase("withdrawal", "撤回")
        case .dispatch: Phrase("dispatch", "派单")
        case .answer: Phrase("answer", "答复")
        case .rating: Phrase("grade", "评价")
        }
    }
}

extension RejectionCode {
    /// Why the hub refused what was written here.
    package var phrase: Phrase {
        switch self {
        case .invalid: Phrase("the value cannot stand", "填写内容不符合要求")
        case .upgrade:
            Phrase("the server is too old for this; it is offered again", "服务器版本过旧，升级后将重新提交")
        case .role: Phrase("your role may not write this", "您的角色无权填写此项")
        case .scope: Phrase("the record lies outside your area", "该记录不在您的辖区或队伍内")
        case .unknownRecord: Phrase("the server has no such record", "服务器没有该记录")
        case .depends: Phrase("the record itself was refused", "该记录本身未被接收")
        case .unknownGrid: Phrase("there is no such grid", "没有这个网格")
        case .unknownCategory: Phrase("there is no such category", "没有这个类别")
        case .unknownTeam: Phrase("there is no such team", "没有这支队伍")
        case .notFinished: Phrase("the job is not finished yet", "尚未办结，不能评价")
        case .recordExists: Phrase("the record exists already", "该记录已存在")
        case .unreadable:
            Phrase("the server's disk has damaged the record", "服务器磁盘损坏了该记录")
        }
    }
}

extension CivilDate {
    /// For a text that is not a date. Does not repeat it: the caller names the option.
    package static let faultPhrase = Phrase("this is not a date", "这不是有效的日期")
    package static let hintPhrase = Phrase(
        "write a day that exists as year-month-day, such as 2026-12-01",
        "请写实际存在的“年-月-日”，例如 2026-12-01")
}
