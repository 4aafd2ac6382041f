import HubLedger
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

@Suite("Import of CSV files")
struct ReferenceImportTests {
    let hub: TestHub

    init() throws {
        hub = try TestHub()
    }

    private func report(
        _ table: ReferenceTable, _ csv: String
    ) throws -> [Int] {
        let report = try hub.ledger.importTable(table, csv: csv)
        return [report.added, report.updated, report.unchanged]
    }

    @Test("rows are added, updated by their key, or found unchanged; none is removed")
    func counts() throws {
        let csv = "code,name\nlight,路灯照明\nwater,供水\nroads,道路\n"
        #expect(try report(.categories, csv) == [1, 1, 1])
        #expect(try report(.categories, csv) == [0, 0, 3])
        #expect(try report(.categories, "code,name\n") == [0, 0, 0])
        #expect(try hub.records().count { $0.kind == Kind.category.rawValue } == 3)
    }

    @Test("devices get the new text of a row under the same record")
    func update() throws {
        let worker = try hub.worker("v1")
        try worker.sync()
        let head = try hub.head
        _ = try hub.ledger.importTable(.teams, csv: "id,name,territory\nA,先锋队,t1\n")
        // The term of this start, and one change.
        #expect(try hub.head == head + 2)
        try worker.sync()
        let team = try #require(
            worker.state.values.first {
                $0.fields[TeamField.code.rawValue]?.first?.value == Array("A".utf8)
            })
        #expect(team.fields[TeamField.name.rawValue]?.first?.value == Array("先锋队".utf8))
    }

    @Test("a file with nothing new admits nothing")
    func nothingNew() throws {
        let head = try hub.head
        #expect(try report(.territory, TestHub.territory) == [0, 0, 10])
        #expect(try hub.head == head)
    }

    @Test("columns may stand in any order")
    func columnOrder() throws {
        #expect(try report(.teams, "territory,id,name\nt1,D,丁队\n") == [1, 0, 0])
        #expect(try hub.storage.snapshot { try hub.storage.team("D")?.name } == "丁队")
    }

    @Test(
        "byte order mark, CRLF, lone CR, a missing last line end and blank lines are all right",
        arguments: [
            "\u{FEFF}code,name\nroads,道路\n", "code,name\r\nroads,道路\r\n",
            "code,name\rroads,道路\r", "code,name\nroads,道路", "code,name\n\nroads,道路\n\n",
            "code , name\n roads ,  道路 \n",
        ])
    func lineEnds(csv: String) throws {
        #expect(try report(.categories, csv) == [1, 0, 0])
        #expect(try hub.storage.snapshot { try hub.storage.isCategory("roads") })
    }

    @Test("quoted cells keep commas, doubled quotes and spaces")
    func quotes() throws {
        _ = try report(.categories, "code,name\nroads,\" 道路, \"\"大\"\"修 \"\n")
        let names = try hub.records().compactMap {
            $0.state[CategoryField.name.rawValue].winner?.value
        }
        #expect(names.contains(Array(" 道路, \"大\"修 ".utf8)))
    }

    @Test(
        "a mark that combines with what stands before it takes no comma, quote or line end away",
        arguments: ["\u{FE0F}x", "\u{0301}", "\u{200D}路", "\"\u{0301}路\""])
    func combiningMarks(name: String) throws {
        #expect(try report(.categories, "code,name\nroads,\(name)\nparks,公园\n") == [2, 0, 0])
        #expect(try report(.categories, "name,code\r\n\(name),roads\r\n") == [0, 0, 1])
    }

    @Test("lines count as editors count them, also within quotes")
    func quotedLines() throws {
        let error = #expect(throws: LedgerError.self) {
            try hub.ledger.importTable(
                .categories, csv: "code,name\r\nok,\"1\r\n2\r3\n4\u{2028}\"\r\nroads\r\n")
        }
        guard case .row(let line, _, _) = error else {
            Issue.record("another error")
            return
        }
        #expect(line == 6)
    }

    @Test("a territory may name a parent that comes later in the file")
    func laterParent() throws {
        let csv = "code,name,level,parent\ng5,五网格,grid,v4\nv4,北村,village,t2\n"
        #expect(try report(.territory, csv) == [2, 0, 0])
        let town = try hub.office("t2")
        #expect(try hub.scope(of: hub.device(town.id)).contains(.grid("g5")))
    }

    @Test("a new ledger takes no banner but its own")
    func otherBanner() throws {
        let path = hub.scratch.path("new")
        try Ledger.create(
            at: path, banner: "152921", name: "青草旗", offsetMinutes: 480,
            clock: { TestHub.start })
        let ledger = try Ledger(opening: path, clock: { TestHub.start })
        let error = #expect(throws: LedgerError.self) {
            try ledger.importTable(
                .territory, csv: "code,name,level,parent\nt9,镇,town,999\n999,其他旗,banner,\n")
        }
        guard case .row(3, "code", let what) = error else {
            Issue.record("another error")
            return
        }
        #expect(what.contains("152921"))
        let own = "code,name,level,parent\n152921,青草旗,banner,\n"
        #expect(try ledger.importTable(.territory, csv: own).added == 1)
    }

    @Test("an import of more rows than a batch holds can be read again")
    func manyRows() throws {
        var csv = "code,name,level,parent\n"
        for number in 0..<6_000 { csv += "x\(number),网格\(number),grid,v1\n" }
        #expect(try report(.territory, csv) == [6_000, 0, 0])
        let record = try #require(
            try hub.records().last { $0.kind == Kind.territory.rawValue })
        let worker = try hub.worker("v1")
        #expect(try hub.ledger.history(of: record.id, for: worker.id).count == 4)
        #expect(try hub.ledger.check() == [])
        #expect(try report(.territory, csv) == [0, 0, 6_000])
    }

    @Test("a banner has no more grids than a scope can name")
    func tooManyGrids() throws {
        let head = try hub.head
        var csv = "code,name,level,parent\n"
        for number in 4..<LedgerLimits.gridsMax + 1 { csv += "x\(number),网格,grid,v1\n" }
        let error = #expect(throws: LedgerError.self) {
            try hub.ledger.importTable(.territory, csv: csv)
        }
        guard case .row(let line, _, _) = error else {
            Issue.record("another error")
            return
        }
        #expect(line == LedgerLimits.gridsMax - 4 + 2)
        #expect(try hub.head == head)
    }

    struct Fault: Sendable, CustomTestStringConvertible {
        var table: ReferenceTable
        var csv: String
        var line: Int
        var column: String
        var what: String

        var testDescription: String { what }
    }

    static let faults: [Fault] = [
        Fault(
            table: .categories, csv: "", line: 1, column: "code", what: "an empty file"),
        Fault(
            table: .categories, csv: "code\nroads\n", line: 1, column: "name",
            what: "a missing column"),
        Fault(
            table: .categories, csv: "code,name,colour\n", line: 1, column: "colour",
            what: "an unknown column"),
        Fault(
            table: .categories, csv: "code,name,name\n", line: 1, column: "code",
            what: "a column twice"),
        Fault(
            table: .categories, csv: "code,name\nok,好\nroads\n", line: 3, column: "name",
            what: "too few cells"),
        Fault(
            table: .categories, csv: "code,name\nok,好\nroads,道路,x\n", line: 3, column: "name",
            what: "too many cells"),
        Fault(
            table: .categories, csv: "code,name\nok,好\n,道路\n", line: 3, column: "code",
            what: "an empty cell"),
        Fault(
            table: .categories, csv: "code,name\nok,好\nroads,\n", line: 3, column: "name",
            what: "an empty name"),
        Fault(
            table: .categories, csv: "code,name\nok,好\nok,又\n", line: 3, column: "code",
            what: "a key twice"),
        Fault(
            table: .categories, csv: "code,name\nok,好\na b,空格\n", line: 3, column: "code",
            what: "a key with a space"),
        Fault(
            table: .categories, csv: "code,name\nok,好\nroads,\u{1B}[31m\n", line: 3,
            column: "name", what: "control characters"),
        Fault(
            table: .categories,
            csv: "code,name\nok,好\nroads,\(String(repeating: "路", count: 100))\n", line: 3,
            column: "name", what: "a text too long"),
        Fault(
            table: .categories, csv: "code,name\nok,好\n\"roads\"x,道路\n", line: 3, column: "1",
            what: "text after a quote"),
        Fault(
            table: .categories, csv: "code,name\nok,\"两\n行\"\nroads,\"道路\n", line: 4,
            column: "2", what: "a quote never closed, after a quoted line end"),
        Fault(
            table: .territory, csv: "code,name,level,parent\nv9,村,hamlet,t1\n", line: 2,
            column: "level", what: "an unknown level"),
        Fault(
            table: .territory, csv: "code,name,level,parent\nv9,村,village,\n", line: 2,
            column: "parent", what: "a village without a parent"),
        Fault(
            table: .territory, csv: "code,name,level,parent\nb9,旗,banner,b\n", line: 2,
            column: "parent", what: "a banner with a parent"),
        Fault(
            table: .territory, csv: "code,name,level,parent\nv9,村,village,t9\n", line: 2,
            column: "parent", what: "an unknown parent"),
        Fault(
            table: .territory, csv: "code,name,level,parent\nt9,镇,town,v1\n", line: 2,
            column: "parent", what: "a town in a village"),
        Fault(
            table: .territory, csv: "code,name,level,parent\ng1,网格,village,t1\n", line: 2,
            column: "level", what: "a grid that becomes a village"),
        Fault(
            table: .teams, csv: "id,name,territory\nD,丁队,t1\nE,戊队,t9\n", line: 3,
            column: "territory", what: "a team in an unknown territory"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nroads,b,A,\n", line: 2,
            column: "category", what: "a route of an unknown category"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nlight,x,A,\n", line: 2,
            column: "territory", what: "a route in an unknown territory"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nlight,b,Z,\n", line: 2,
            column: "team", what: "a route to an unknown team"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nlight,b,A,\nlight,b,B,\n",
            line: 3, column: "territory", what: "two routes in one place"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nlight,b,A,soon\n", line: 2,
            column: "due_days", what: "days that are no number"),
        Fault(
            table: .routes, csv: "category,territory,team,due_days\nlight,b,A,-1\n", line: 2,
            column: "due_days", what: "days before the day"),
    ]

    @Test("a wrong row is named by line and column, and nothing is stored", arguments: faults)
    func fault(_ fault: Fault) throws {
        let before = try hub.records()
        let head = try hub.head
        let error = #expect(throws: LedgerError.self) {
            try hub.ledger.importTable(fault.table, csv: fault.csv)
        }
        guard case .row(let line, let column, let what) = error else {
            Issue.record("not a row's fault but \(String(describing: error))")
            return
        }
        #expect(line == fault.line, "\(what)")
        #expect(column == fault.column, "\(what)")
        #expect(try hub.records() == before)
        #expect(try hub.head == head)
        let route = try hub.storage.snapshot {
            try hub.storage.route(category: "light", territory: "b")
        }
        #expect(route == nil)
    }

    @Test("routes are updated by category and territory")
    func routes() throws {
        let header = "category,territory,team,due_days\n"
        #expect(try report(.routes, header + "light,b,A,3\nlight,t1,C,\n") == [2, 0, 0])
        #expect(try report(.routes, header + "light,b,A,5\nlight,t1,C,\n") == [0, 1, 1])
    }
}
