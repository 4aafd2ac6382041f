import Foundation
import Testing

/// What people and pipes see.
@Suite(.lane) struct TerminalTests {
    /// Needs of different lengths and widths, half of them not sent.
    private func worker() async throws -> (World, Device) {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("小区里缺路灯，晚上老人出门不安全", "--category", "lighting")
        try await worker.sync()
        _ = try await worker.add("WiFi 信号弱", "--category", "water", grid: "152921100001002")
        _ = try await worker.add("水")
        return (world, worker)
    }

    // MARK: Data on stdout, talk on stderr

    @Test func emptyListsPrintNoData() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        for list in ["need", "job", "conflict", "refused"] {
            let outcome = try await worker.run(list, "list")
            #expect(outcome.output.isEmpty && !outcome.errors.isEmpty, "\(list)")
        }
    }

    @Test func failuresPrintNoData() async throws {
        let (_, worker) = try await worker()
        let commands: [([String], Int)] = [
            (["need", "show", "ffffffff"], 1), (["need", "show", "zz"], 64),
            (["need", "add"], 64), (["need", "list", "--status", "lost"], 64), (["nonsense"], 64),
        ]
        for (command, code) in commands {
            let outcome = try await worker.start(command).end().expect(code)
            #expect(outcome.output.isEmpty && !outcome.errors.isEmpty, "\(command)")
        }
    }

    @Test func meaningOfTheMarksIsTalk() async throws {
        let (_, worker) = try await worker()
        let outcome = try await worker.run("need", "list")
        #expect(outcome.lines.count == 4)
        #expect(outcome.stderr == "* not yet sent\n")
    }

    @Test func costOfASyncIsTalk() async throws {
        let (_, worker) = try await worker()
        let outcome = try await worker.sync()
        #expect(outcome.stdout == "2 sent\n")
        #expect(outcome.stderr.wholeMatch(of: /\d+ B up, \d+ B down, 1 round trip\n/) != nil)
    }

    @Test func nobodyReadingIsNoFailure() async throws {
        let (world, worker) = try await worker()
        let command = "'\(Programs.client)' need list | true"
        try await world.start(
            ["sh", "-c", command], environment: ["WAYSTATION_HOME": worker.home]
        ).end().expect(0)
    }

    @Test func fullOutputIsAnError() async throws {
        let (world, worker) = try await worker()
        let command = "'\(Programs.client)' need list >/dev/full"
        try await world.start(
            ["sh", "-c", command], environment: ["WAYSTATION_HOME": worker.home]
        ).end().expect(74)
    }

    @Test func nobodyCanBeToldEndsAWatch() async throws {
        let (world, worker) = try await worker()
        let command = "'\(Programs.client)' sync --watch >/dev/full"
        try await world.start(
            ["sh", "-c", command], environment: ["WAYSTATION_HOME": worker.home]
        ).end().expect(74)
    }

    @Test func fullOutputOfTheServersProgramIsAnError() async throws {
        let world = try await World(serving: false)
        let command = "'\(Programs.server)' devices --ledger '\(world.ledger)' >/dev/full"
        let outcome = try await world.start(["sh", "-c", command]).end().expect(74)
        #expect(outcome.stderr.contains("No space left") && outcome.stderr.contains("hint: "))
    }

    // MARK: Colours

    @Test func pipesGetNoEscapes() async throws {
        let (world, worker) = try await worker()
        for command in [["need", "list"], ["status"], ["sync"], ["job", "list"], ["need"]] {
            let outcome = try await worker.start(command).end()
            #expect(!(outcome.output + outcome.errors).contains(0x1B), "\(command)")
        }
        let outcome = try await world.admin("devices")
        #expect(!outcome.output.contains(0x1B))
    }

    @Test func terminalGetsColours() async throws {
        let (_, worker) = try await worker()
        let child = try worker.start(
            ["need", "list"], environment: ["TERM": "xterm"], streams: .terminal)
        try await child.end().expect(0)
        #expect(child.terminalText.contains("\u{1B}["))
    }

    @Test func noColorIsHonoured() async throws {
        let (_, worker) = try await worker()
        let child = try worker.start(
            ["need", "list"], environment: ["TERM": "xterm", "NO_COLOR": "1"],
            streams: .terminal)
        try await child.end().expect(0)
        #expect(child.terminalText.contains("小区里缺路灯"))
        #expect(!child.terminalText.contains("\u{1B}"))
    }

    /// What a resident said must not steer the terminal of whoever reads it.
    @Test func recordedEscapesDoNotReachTheTerminal() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("坏\u{1B}[2J\u{7}了")
        let outcome = try await worker.run("need", "list")
        #expect(!outcome.output.contains(0x1B) && !outcome.output.contains(0x07))
        #expect(outcome.stdout.contains("了"))
    }

    // MARK: Language

    @Test func recordedLinesForgeNoOthers() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("缺路灯", "--address", "3号楼\nstatus        rated")
        let shown = try await worker.run("need", "show", id)
        #expect(shown.lines.filter { $0.hasPrefix("status") } == ["status        recorded"])
        #expect(shown.lines.contains("address       3号楼 status        rated"))
    }

    @Test func chineseTableLinesUp() async throws {
        let (_, worker) = try await worker()
        let lines = try await worker.run("need", "list", "--language", "zh-Hans").lines
        let columns = [
            "编号": ["", "", ""], "状态": ["待接单", "待派单", "待派单"],
            "类别": ["路灯照明", "供水排水", ""],
            "网格": ["幸福社区第一网格", "幸福社区第二网格", "幸福社区第一网格"],
            "需求": ["小区里缺路灯，晚上老人出门不安全", "WiFi 信号弱", "水"],
        ]
        guard lines.count == 4 else { throw Surprise("\(lines)") }
        for (title, cells) in columns {
            let column = displayColumn(of: title, in: lines[0])
            #expect(column != nil, "\(title)")
            for (line, cell) in zip(lines.dropFirst(), cells) where !cell.isEmpty {
                #expect(displayColumn(of: cell, in: line, last: title == "需求") == column)
            }
        }
    }

    /// The terminal column where a text begins: wide characters take two.
    private func displayColumn(of text: String, in line: String, last: Bool = false) -> Int? {
        guard let range = line.range(of: text, options: last ? .backwards : []) else { return nil }
        return line[..<range.lowerBound].unicodeScalars.reduce(0) { width, scalar in
            let isWide =
                (0x1100...0x115F).contains(scalar.value)
                || (0x2E80...0xA4CF).contains(scalar.value)
                || (0xAC00...0xD7A3).contains(scalar.value)
                || (0xF900...0xFAFF).contains(scalar.value)
                || (0xFF00...0xFF60).contains(scalar.value)
            return width + (isWide ? 2 : 1)
        }
    }

    @Test func localeChoosesTheLanguage() async throws {
        let (_, worker) = try await worker()
        let chinese = try await worker.run("status", environment: ["LANG": "zh_CN.UTF-8"])
        #expect(chinese.stdout.contains("等待上传"))
        let english = try await worker.run("status", environment: ["LANG": "de_DE.UTF-8"])
        #expect(english.stdout.contains("waiting to be sent"))
    }

    @Test func optionGoesBeforeTheLocale() async throws {
        let (_, worker) = try await worker()
        let outcome = try await worker.run(
            "status", "--language", "en", environment: ["LC_ALL": "zh_CN.UTF-8"])
        #expect(outcome.stdout.contains("waiting to be sent"))
    }

    @Test func errorsAreChineseToo() async throws {
        let world = try await World(serving: false)
        let outcome = try await world.device("device").run(
            "sync", "--language", "zh-Hans", exits: 77)
        #expect(outcome.stderr.hasPrefix("错误：本设备尚未登记\n提示："))
    }

    @Test(arguments: ["fr", "zh-Hant", ""])
    func unknownLanguageIsWrongUsage(tag: String) async throws {
        let world = try await World(serving: false)
        let outcome = try await world.device("device").run(
            "need", "list", "--language", tag, exits: 64)
        #expect(outcome.stderr.contains("zh-Hans"))
        try await world.admin("check", "--language", tag, exits: 64)
    }

    @Test func helpIsInTheChosenLanguage() async throws {
        let world = try await World(serving: false)
        let outcome = try await world.device("device").run(
            "need", "add", "--help",
            environment: ["LANG": "zh_CN.UTF-8"])
        #expect(outcome.stdout.contains("记录一条需求"))
    }

    // MARK: Questions

    @Test func missingPartsAreAskedForOnATerminal() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let child = try worker.start(["need", "add"], streams: .terminal)
        let answers = [
            ("What is needed", "门口积水"), ("Grid", "幸福社区第二网格"), ("Category", "water"),
            ("Resident", ""), ("Phone", "138"), ("Address", ""),
        ]
        for (question, answer) in answers {
            try await eventually("the question \(question)", within: 20) {
                if child.hasEnded { throw Surprise(child.terminalText) }
                return child.terminalText.contains(question)
            }
            child.type(answer + "\n")
        }
        try await child.end().expect(0)
        let needs = try await worker.needs()
        #expect(needs.map { $0["text"].text } == ["门口积水"])
        #expect(needs[0]["grid"].text == "152921100001002")
        #expect(needs[0]["category"].text == "water")
        #expect(needs[0]["phone"].text == "138" && needs[0]["resident"] == .null)
    }

    @Test func noInputAsksNothing() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let child = try worker.start(["need", "add", "--no-input"], streams: .terminal)
        try await child.end().expect(64)
        #expect(!child.terminalText.contains("What is needed"))
    }

    @Test func nothingIsAskedInAPipe() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let child = try worker.start(["need", "add"], streams: .files(input: Array("水\n".utf8)))
        try await child.end().expect(64)
        #expect(try await worker.needs() == [])
    }

    @Test func onlyGridNeedNotBeNamed() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker("152921100201"))
        try await worker.run("need", "add", "门口积水")
        #expect(try await worker.needs().map { $0["grid"].text } == ["152921100201001"])
    }

    // MARK: Where the journal lies

    @Test func journalLiesInTheXDGDataDirectory() async throws {
        let world = try await World()
        let data = world.folder + "/data"
        let environment = ["WAYSTATION_HOME": "", "XDG_DATA_HOME": data]
        let code = try await world.invite(.worker, name: "device")
        try await world.device("device").run(
            "enroll", world.url, code, environment: environment)
        #expect(FileManager.default.fileExists(atPath: data + "/waystation/journal.sqlite"))
    }

    @Test func journalLiesUnderHomeByDefault() async throws {
        let world = try await World()
        let code = try await world.invite(.worker, name: "device")
        try await world.device("device").run(
            "enroll", world.url, code, environment: ["WAYSTATION_HOME": ""])
        let path = world.folder + "/.local/share/waystation/journal.sqlite"
        #expect(FileManager.default.fileExists(atPath: path))
    }

    /// Without a home of its own a journal does not lie wherever the person happens to be.
    @Test(arguments: ["env -u HOME", "env HOME=", "env HOME=."])
    func journalDoesNotLieInTheCurrentFolder(homeless: String) async throws {
        let world = try await World()
        let code = try await world.invite(.worker, name: "somebody")
        let device = world.device("device")
        try await device.run("enroll", world.url, code, environment: ["WAYSTATION_HOME": ""])
        let command = "cd '\(world.folder)' && \(homeless) '\(Programs.client)' status"
        let outcome = try await world.start(
            ["sh", "-c", command], environment: ["WAYSTATION_HOME": ""]
        ).end()
        #expect(!outcome.stdout.contains("somebody"))
    }

    @Test func waystationHomeGoesBeforeXDG() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let outcome = try await worker.run(
            "status", environment: ["XDG_DATA_HOME": world.folder + "/data"])
        #expect(outcome.stdout.hasPrefix("worker "))
    }
}
