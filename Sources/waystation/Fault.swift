import DeviceJournal
import DeviceSync
import NeedModel
import SyncCore
import TerminalUI

/// An error as a person is told it, with the exit code that scripts read.
struct Fault {
    var message: Phrase
    var hint: Phrase?
    var exitCode: Int32

    init(_ error: any Error) {
        switch error {
        case let error as JournalError: self.init(error)
        case let error as SyncError: self.init(error)
        default: self.init(message: Phrase("\(error)", "\(error)"), hint: nil, exitCode: 1)
        }
    }

    private init(message: Phrase, hint: Phrase?, exitCode: Int32) {
        self.message = message
        self.hint = hint
        self.exitCode = exitCode
    }

    private init(_ error: JournalError) {
        message = Phrase(error.description, error.chinese)
        hint =
            error.hint.isEmpty ? nil : Phrase(error.hint, error.chineseHint ?? error.hint)
        exitCode =
            switch error.category {
            case .failed: 1
            case .usage: 64
            case .disk: 74
            case .tryLater: 75
            case .notEnrolled: 77
            }
    }
}

extension Fault {
    private init(_ error: SyncError) {
        if case .journal(let error) = error {
            self.init(error)
            return
        }
        let exitCode: Int32 =
            switch error.category {
            case .failed: 1
            case .usage: 64
            case .unreachable: 69
            case .disk: 74
            case .tryLater: 75
            case .notEnrolled: 77
            case .interrupted: 130
            }
        self.init(
            message: Phrase(error.description, error.chinese),
            hint: Phrase(error.hint, error.chineseHint), exitCode: exitCode)
    }
}

extension SyncError {
    fileprivate var chinese: String {
        switch self {
        case .journal(let error): error.chinese
        case .busy: "本机正在进行另一次同步"
        case .transport(let transport): transport.chinese
        case .interrupted: "已中断"
        case .unknownToken: "服务器不认识本设备"
        case .revoked: "本设备已被服务器吊销"
        case .codeRefused(let text): "服务器不接受该邀请码（\(text.message)）"
        case .badCode: "这不是邀请码"
        case .upgradeNeeded: "服务器使用另一版本的协议"
        case .temporary(let status, _, _): "服务器繁忙（\(status)）"
        case .server(let status, let text): "服务器出错（\(status)，\(text.message)）"
        case .badAnswer(let reason): "服务器的答复无法使用：\(reason)"
        case .enrolledElsewhere: "本设备已在另一台服务器登记"
        case .noProgress: "服务器有答复，但同步没有进展"
        }
    }

    fileprivate var chineseHint: String {
        switch self {
        case .journal: ""
        case .busy: "请等它结束后再试。"
        case .transport(let transport): transport.chineseHint
        case .interrupted: "没有丢失任何内容，可随时再次同步。"
        case .unknownToken, .revoked: "请向管理员索取新的邀请码；未上传的内容会保留。"
        case .codeRefused: "请向管理员索取新的邀请码。"
        case .badCode: "请按管理员给出的原样输入字母、数字和连字符。"
        case .upgradeNeeded: "请安装与服务器相符的版本。"
        case .temporary(_, let seconds, _):
            seconds.map { "请 \($0) 秒后再同步。" } ?? "请稍后再同步。"
        case .server: "请告知服务器管理员。"
        case .badAnswer: "请检查服务器地址，或该网络是否需要先登录。"
        case .enrolledElsewhere: "请再次同步；没有向原服务器上传任何内容。"
        case .noProgress: "请告知服务器管理员；未上传的内容安全保存在本机。"
        }
    }
}

extension SyncError.TransportCase {
    fileprivate var chinese: String {
        switch code {
        case Self.tls: "无法与服务器建立安全连接（\(description)）"
        case Self.tooLarge: "服务器的答复过大（\(description)）"
        case Self.badAddress: "服务器地址无法使用（\(description)）"
        case Self.libraryMissing: "无法加载 libcurl（\(description)）"
        default: "无法连接服务器（\(description)）"
        }
    }

    /// The same advice as ``TransportError/hint``.
    fileprivate var chineseHint: String {
        switch (code, curlCode) {
        case (Self.unreachable, 1), (Self.unreachable, 8):
            "答复的不是服务器。请检查地址，或该网络是否需要先登录。"
        case (Self.unreachable, 5), (Self.unreachable, 97):
            "请检查 http_proxy、https_proxy 或 all_proxy 中的代理。"
        case (Self.unreachable, 6): "请先检查信号，再检查服务器地址的拼写。"
        case (Self.unreachable, 7): "请先检查信号，再确认服务器是否在该地址和端口运行。"
        case (Self.tls, 60):
            "如果本机时间不对，请先校准：证书按日期验证。如果服务器使用自制证书，请用邀请码登记（其中带有服务器的公钥，不依赖时间），或指定其 CA 证书文件。"
        case (Self.tls, 77): "请检查 CA 证书文件是否存在、可读，且为 PEM 格式。"
        case (Self.tls, 90):
            "服务器的公钥与邀请码中的不同。请询问管理员是否更换过公钥；如果没有，则该网络不可信。"
        case (Self.tls, 35): "请再试一次；如果仍然如此，请检查该端口是否使用 https。"
        case (Self.tls, _): "请管理员检查服务器的证书。"
        case (Self.tooLarge, _): "请检查地址是否为服务器：它的答复从不会这么大。"
        case (Self.badAddress, _):
            "请把地址写成 https://主机 或 http://主机:端口，或用新的邀请码重新登记。"
        case (Self.libraryMissing, _):
            "请安装 libcurl（Debian：apt install libcurl4）；本机记录不受影响。"
        default: "记录已安全保存在本机，信号好时再同步。"
        }
    }
}

extension JournalError.Action {
    var chinese: String {
        switch self {
        case .add: "记录需求"
        case .edit: "修改"
        case .withdraw: "撤回"
        case .undo: "恢复"
        case .note: "备注"
        case .rate: "评价"
        case .accept: "接单"
        case .decline: "拒单"
        case .start: "开始办理"
        case .finish: "办结"
        case .dispatch: "派单"
        case .settle: "处理冲突"
        case .retry: "重试"
        }
    }
}

extension JournalError {
    fileprivate var chinese: String {
        switch self {
        case .notEnrolled: "本设备尚未登记"
        case .busy: "另一个命令正在使用本机记录"
        case .diskFull: "磁盘已满，没有保存任何内容"
        case .readOnly(let path): "无法写入 \(path)"
        case .cannotOpen(let path, let detail): "无法打开 \(path)（\(detail)）"
        case .ioError(let detail): "磁盘出错，没有保存任何内容（\(detail)）"
        case .damaged(let path, let detail): "\(path) 已损坏（\(detail)）"
        case .foreign(let path): "\(path) 不是本程序的记录文件"
        case .newerFormat(let found, let supported):
            "记录文件格式为 \(found)，本程序只支持到 \(supported)"
        case .idMalformed(let text): "“\(text)”不是编号"
        case .idTooShort(let text): "编号“\(text)”太短"
        case .notFound(let text): "本机没有编号为 \(text) 的记录"
        case .ambiguous(let text, let candidates):
            "\(text) 可能是 " + candidates.map(\.description).joined(separator: "、")
        case .invalid(let field, let reason):
            "\(field.phrase.chinese)：\(Self.chinese(reason))"
        case .missing(let field): "缺少\(field.phrase.chinese)"
        case .unknownGrid(let code): "没有网格 \(code)"
        case .outsideTerritory(let grid): "网格 \(grid) 不在本设备的辖区内"
        case .unknownCategory(let code): "没有类别 \(code)"
        case .unknownTeam(let code): "没有队伍 \(code)"
        case .ambiguousName(let name, let codes):
            "\(name) 可能是 " + codes.joined(separator: "、")
        case .tooLarge: "一次填写的内容过多"
        case .notAllowed(let role, let action):
            "\(role.phrase.chinese)不能\(action.chinese)"
        case .wrongState(let status, let action):
            "该需求状态为“\(status.phrase.chinese)”，不能\(action.chinese)"
        case .notYourJob: "该任务已派给其他队伍"
        case .nothingToSettle(let field): "“\(field.phrase.chinese)”没有冲突"
        case .noSuchVersion(let number, let count): "没有第 \(number) 个版本，共 \(count) 个"
        case .otherIsAmbiguous(let count): "共有 \(count) 个版本，“other”不明确"
        case .formerOrder: "这是对以前派单的答复"
        case .notRefused(let text): "被拒列表中没有 \(text)"
        case .tooDamaged: "磁盘损坏，这条命令已无法重试"
        case .staleAnswer: "服务器的答复与本机记录不再相符"
        case .badAnswer(let reason): "服务器的答复无法理解：\(reason)"
        case .exhausted: "本机记录的编号已用完"
        }
    }

    fileprivate var chineseHint: String? {
        switch self {
        case .notEnrolled: "请向服务器管理员索取邀请码，然后运行 waystation enroll"
        case .busy: "请稍后再试。"
        case .diskFull: "请清理磁盘空间后再试。"
        case .readOnly, .cannotOpen: "请检查目录是否存在、是否有写权限。"
        case .ioError: "请检查磁盘。"
        case .damaged: "请保留该文件的副本，管理员可以帮助找回其中未上传的内容。"
        case .foreign: "请检查 WAYSTATION_HOME；该文件未被改动。"
        case .newerFormat: "请升级程序；该文件未被改动。"
        case .idMalformed, .idTooShort, .notFound: "请输入列表中显示的编号末几位，至少四位。"
        case .ambiguous: "请多输入几位。"
        case .ambiguousName: "请输入代码。"
        case .unknownGrid, .unknownCategory, .unknownTeam: "请同步以取得最新列表，或检查写法。"
        case .outsideTerritory: "请选择自己的网格，或告知所在站所。"
        case .notAllowed: "请联系所在站所办理。"
        case .wrongState(_, .rate): "办结之后才能评价。"
        case .wrongState(.withdrawn, _): "请先恢复：waystation need withdraw ID --undo"
        case .notYourJob: "请同步以查看最新状态。"
        case .nothingToSettle: "请用 need edit 修改。"
        case .formerOrder: "请保留当前派单，或重新派给该队伍并代为办结。"
        case .noSuchVersion, .otherIsAmbiguous: "conflict show 会列出版本编号。"
        case .notRefused: "refused list 会列出被拒内容。"
        case .tooDamaged: "请凭记忆重新记录，然后从被拒列表中删去（drop）。"
        case .staleAnswer: "请再次同步。"
        case .badAnswer: "请检查服务器地址，或告知管理员。"
        case .exhausted: "请换一个 WAYSTATION_HOME 重新登记。"
        case .missing(.text): "请说明需要什么：waystation need add 内容"
        case .missing(.grid): "请用 --grid 给出网格的代码或名称。"
        case .missing, .invalid, .tooLarge, .wrongState: nil
        }
    }
}

extension JournalError {
    /// The reasons of ``NeedModel/FieldRule`` and of the journal's commands.
    fileprivate static func chinese(_ reason: String) -> String {
        let fixed = [
            "cannot be cleared": "不能清空", "not well-formed": "格式不正确", "empty": "不能为空",
            "given twice": "重复给出",
            "not given with a new need": "不能在新需求中给出",
            "without a reason": "缺少原因", "not 1 to 3": "应为 1 到 3", "not 1 to 5": "应为 1 到 5",
            "not a number": "不是数字", "not LAT,LON in degrees": "应为“纬度,经度”（度）",
            "not a date YYYY-MM-DD": "不是有效日期（年-月-日）", "not set this way": "不能这样设置",
            "not changed by an edit but by a command of its own": "不能用 edit 修改，请用相应的命令",
            "not part of what was refused": "不属于被拒的内容",
        ]
        if let text = fixed[reason] { return text }
        let parts = reason.split(separator: " ")
        if reason.hasPrefix("longer than"), parts.count > 2 { return "超过 \(parts[2]) 字节" }
        return "不符合要求（\(reason)）"
    }
}
