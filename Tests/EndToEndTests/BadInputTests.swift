import Foundation
import Glibc
import Testing

/// Wrong input gets a clear error and changes nothing.
@Suite(.lane) struct BadInputTests {
    // MARK: Tables

    @Test(arguments: [
        ("territory", "code,name,level,parent\n9,甲,town,152921\n8,乙,hamlet,9\n", 3, "level"),
        ("territory", "code,name,level,parent\n1529,旗,banner,\n", 2, "code"),
        ("territory", "code,name,level,parent\n9,甲,town,nowhere\n", 2, "parent"),
        ("territory", "code,name,level,parent\n9,,town,152921\n", 2, "name"),
        ("territory", "code,name,level,parent\n9,甲,grid,152921\n8,乙,town,9\n", 3, "parent"),
        ("territory", "code,name,level,parent\n9,甲,town,152921\n9,甲,town,152921\n", 3, "code"),
        ("territory", "code,name,level,parent\n\n9,甲,town\n", 3, "parent"),
        ("territory", "code,name,parent\n", 1, "level"),
        ("teams", "id,name,territory\nT03,队,152921\nT04,队,nowhere\n", 3, "territory"),
        ("teams", "id,name,territory\nT 3,队,152921\n", 2, "id"),
        ("teams", "id,name,territory,phone\n", 1, "phone"),
        ("categories", "code,name\nroads,道路\nparks,\"公\n园\"\nx\n", 5, "name"),
        ("categories", "code,name\nroads,\"道路\n", 2, "2"),
        ("categories", "", 1, "code"),
        ("routes", "category,territory,team,due_days\nwater,152921,T01,soon\n", 2, "due_days"),
        ("routes", "category,territory,team,due_days\nwater,152921,T01,-1\n", 2, "due_days"),
        ("routes", "category,territory,team,due_days\nnone,152921,T01,1\n", 2, "category"),
        ("routes", "category,territory,team,due_days\nwater,152921,T99,1\n", 2, "team"),
    ])
    func wrongRowIsNamedAndNothingIsImported(
        table: String, text: String, line: Int, column: String
    ) async throws {
        let world = try await World(serving: false)
        let before = try await world.admin("check", "--json").json()
        let file = world.folder + "/table.csv"
        try write(text, to: file)
        let outcome = try await world.admin("import", table, file, exits: 65)
        #expect(outcome.stderr.contains("\(file), line \(line)"), "\(outcome)")
        #expect(outcome.stderr.contains("column \(column)"), "\(outcome)")
        #expect(try await world.admin("check", "--json").json() == before)
    }

    @Test func tableThatIsNotUTF8NamesTheLine() async throws {
        let world = try await World(serving: false)
        let file = world.folder + "/gbk.csv"
        // "道路" in GBK, as an old spreadsheet program saves it.
        let command = "printf 'code,name\\nroads,\\265\\300\\302\\267\\n' >'\(file)'"
        try await world.start(["sh", "-c", command]).end().expect(0)
        let outcome = try await world.admin("import", "categories", file, exits: 65)
        #expect(outcome.stderr.contains("line 2"))
        #expect(outcome.stderr.contains("UTF-8"))
    }

    @Test func tableFromASpreadsheetIsTaken() async throws {
        let world = try await World(serving: false)
        let file = world.folder + "/table.csv"
        try write("\u{FEFF}name,code\r\n\"道,路\",roads\r\n", to: file)
        let outcome = try await world.admin("import", "categories", file)
        #expect(outcome.stderr.contains("1 added"))
    }

    @Test func sameTableAgainChangesNothing() async throws {
        let world = try await World(serving: false)
        let outcome = try await world.admin(
            "import", "territory", "\(Programs.demoData)/territory.csv")
        #expect(outcome.stderr.contains("0 added, 0 updated, 8 unchanged"))
    }

    @Test func missingTableIsSaid() async throws {
        let world = try await World(serving: false)
        let outcome = try await world.admin("import", "teams", "/nowhere.csv", exits: 1)
        #expect(outcome.stderr.contains("/nowhere.csv") && outcome.stderr.contains("hint: "))
    }

    // MARK: The operator's command line

    @Test(arguments: [
        ["invite", "--role", "worker", "--team", "T01", "--name", "x"],
        ["invite", "--role", "team", "--name", "x"],
        ["invite", "--role", "king", "--territory", "152921", "--name", "x"],
        ["invite", "--role", "team", "--team", "T01", "--name", "x", "--expires-hours", "0"],
        ["dispatch", "ffff", "--team", "T01", "--due", "2026-02-30"],
        ["serve", "--listen", "nowhere"], ["serve", "--listen", "127.0.0.1:99999"],
        ["import", "streets", "x.csv"], ["revoke", "many"], ["nonsense"],
    ])
    func wrongUsage(arguments: [String]) async throws {
        let world = try await World(serving: false)
        let outcome = try await world.start(
            [Programs.server] + arguments + ["--ledger", world.ledger]
        ).end().expect(64)
        #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
    }

    /// As of an unset variable of a script; a lock file in the working folder would be a riddle.
    @Test func emptyNameOfALedgerIsUsage() async throws {
        let world = try await World(serving: false)
        for command in ["init --banner 1 --name 旗", "check"] {
            let script = "cd '\(world.folder)' && '\(Programs.server)' \(command) --ledger ''"
            let outcome = try await world.start(["sh", "-c", script]).end().expect(64)
            #expect(outcome.stderr.contains("which ledger"))
        }
        #expect(!FileManager.default.fileExists(atPath: world.folder + "/.lock"))
    }

    @Test(arguments: [
        ("head -c 70000 /dev/zero", 64, "larger"), ("printf 'ledger = x\\n\\377\\n'", 64, "line 2"),
        ("printf 'colour = red\\n'", 64, "colour"), ("exit 1", 1, "cannot be read"),
    ])
    func settingsThatCannotStand(making: String, code: Int, words: String) async throws {
        let world = try await World(serving: false)
        let file = world.folder + "/settings"
        let script = "(\(making)) >'\(file)' || rm '\(file)'"
        try await world.start(["sh", "-c", script]).end().expect(0)
        let outcome = try await world.admin("check", "--config", file, exits: code)
        #expect(outcome.stderr.contains(words) && outcome.stderr.contains("hint: "))
        // They are no table.
        #expect(!outcome.stderr.contains("Excel") && !outcome.stderr.contains("split"))
    }

    @Test(arguments: [
        (["invite", "--role", "worker", "--territory", "nowhere", "--name", "x"], 65),
        (["invite", "--role", "team", "--team", "T99", "--name", "x"], 65),
        (["invite", "--role", "worker", "--territory", "152921", "--name", ""], 65),
        (["dispatch", "ffffffff", "--team", "T01"], 1), (["revoke", "99"], 1),
    ])
    func unknownNames(arguments: [String], code: Int) async throws {
        let world = try await World(serving: false)
        let outcome = try await world.start(
            [Programs.server] + arguments + ["--ledger", world.ledger]
        ).end().expect(code)
        #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
    }

    // MARK: What a worker types

    private static let wrongNeeds = [
        ["水", "--grid", "nowhere"], ["水", "--grid", "152921100001"],
        ["水", "--grid", "152921100201001"], ["水", "--category", "nothing"],
        ["水", "--urgency", "4"], ["水", "--urgency", "0"], ["水", "--urgency", "high"],
        ["水", "--at", "91,0"], ["水", "--at", "40.1"], ["水", "--at", "north,east"],
        ["水", "--phone", String(repeating: "1", count: 257)],
        [String(repeating: "很", count: 2_731)], [""], ["   "], ["\n\t"],
        ["水", "--at", "nan,nan"], ["水", "--at", "inf,0"],
    ]

    @Test func wrongNeedIsNotRecorded() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        for arguments in Self.wrongNeeds {
            let grid = arguments.contains("--grid") ? [] : ["--grid", "152921100001001"]
            let outcome = try await worker.start(["need", "add"] + arguments + grid).end()
            #expect(outcome.code == 64, "\(outcome)")
            #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
        }
        #expect(try await worker.waiting() == 0)
    }

    @Test func longestTextIsTaken() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let text = String(repeating: "很", count: 2_730)
        _ = try await worker.add(text)
        try await worker.sync()
        #expect(try await world.needs().map { $0["text"].text } == [text])
    }

    @Test func argumentThatIsNotUTF8IsNotRecorded() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        for command in ["need add", "note ID", "need withdraw ID --reason", "need edit ID"] {
            let arguments = command.replacing("ID", with: id)
            let prefix = command == "need edit ID" ? "address=" : ""
            let script = """
                exec '\(Programs.client)' \(arguments) "$(printf '\(prefix)\\377\\376')"
                """
            let outcome = try await world.start(
                ["sh", "-c", script], environment: ["WAYSTATION_HOME": worker.home]
            ).end()
            #expect(outcome.code == 64 && outcome.stderr.contains("UTF-8"), "\(outcome)")
        }
        #expect(try await worker.waiting() == 1)
    }

    @Test func nameThatIsNotUTF8GetsNoCode() async throws {
        let world = try await World(serving: false)
        let script = """
            exec '\(Programs.server)' invite --role team --team T01 --ledger '\(world.ledger)' \
            --name "$(printf '\\377')"
            """
        let outcome = try await world.start(["sh", "-c", script]).end().expect(64)
        #expect(outcome.output.isEmpty && outcome.stderr.contains("UTF-8"))
    }

    @Test func impossibleDate() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let office = try await world.enrolled("office", .office)
        let id = try await worker.add("水")
        try await worker.sync()
        try await office.sync()
        for due in ["2026-02-30", "2026-13-01", "tomorrow", "20261201", "2026-1-1", ""] {
            let outcome = try await office.run(
                "dispatch", id, "--team", "T01", "--due", due, exits: 64)
            #expect(outcome.stderr.contains("--due"), "\(due)")
        }
        #expect(try await office.status(of: id) == "recorded")
    }

    @Test func gradeOutsideOneToFive() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        for grade in ["0", "6", "-1", "good"] {
            try await worker.run("need", "rate", id, "--grade=\(grade)", exits: 64)
        }
        #expect(try await worker.waiting() == 1)
    }

    @Test func gradeBeforeTheFinish() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        let outcome = try await worker.run("need", "rate", id, "--grade", "5", exits: 1)
        #expect(outcome.stderr.contains("once the job is finished"))
        #expect(try await worker.waiting() == 0)
    }

    @Test func roleMayNotDoWhatIsNotItsPart() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let id = try await worker.add("缺路灯", "--category", "lighting")
        try await worker.sync()
        try await team.sync()
        try await worker.run("dispatch", id, "--team", "T01", exits: 1)
        try await worker.run("job", "accept", id, exits: 1)
        try await team.run("need", "edit", id, "address=x", exits: 1)
        try await team.run("need", "rate", id, "--grade", "5", exits: 1)
        try await team.run("need", "withdraw", id, "--reason", "x", exits: 1)
        try await team.run("need", "add", "x", "--grid", "152921100001001", exits: 1)
        #expect(try await worker.waiting() == 0)
        #expect(try await team.waiting() == 0)
    }

    private static let wrongCommands: [([String], Int)] = [
        (["need", "show", "zz"], 64), (["need", "show", "123"], 64),
        (["need", "show", "ffffffff"], 1), (["job", "start", "ID"], 1),
        (["job", "finish", "ID", "--result", "x"], 1), (["need", "edit", "ID", "colour=red"], 64),
        (["need", "edit", "ID", "address"], 64), (["need", "edit", "ID", "status=rated"], 64),
        (["need", "edit", "ID", "text="], 64), (["need", "edit", "ID", "rating=5"], 64),
        (["need", "edit", "ID", "phone=1", "phone=2"], 64), (["need", "edit", "ID"], 64),
        (["need", "withdraw", "ID"], 64), (["need", "withdraw", "ID", "--undo"], 1),
        (["need", "withdraw", "ID", "--reason", " "], 64), (["note", "ID", ""], 64),
        (["need", "withdraw", "ID", "--reason", "x", "--undo"], 64), (["note", "ID", "  "], 64),
        (["need", "edit", "ID", "text=  "], 64),
    ]

    @Test func wrongCommandChangesNothing() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        for (arguments, code) in Self.wrongCommands {
            let outcome = try await worker.start(arguments.map { $0 == "ID" ? id : $0 }).end()
            #expect(outcome.code == code, "\(outcome)")
            #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
        }
        #expect(try await worker.waiting() == 1)
    }

    /// Two needs whose ids end alike: which is meant must be said.
    @Test func idByItsBeginningOrEnd() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let first = try await worker.add("一")
        let second = try await worker.add("二")
        let short = try await worker.need(first)["short_id"].text ?? ""
        for name in [first, short, first.uppercased(), String(first.suffix(8))] {
            #expect(try await worker.need(name)["id"].text == first)
        }
        // Both were recorded by one replica within seconds: the beginnings are alike.
        let shared = zip(first, second).prefix { $0 == $1 }.map(\.0)
        let outcome = try await worker.run("need", "show", String(shared), exits: 1)
        #expect(outcome.stderr.contains(first) && outcome.stderr.contains(second))
    }
}
