import NeedModel
import SyncCore

/// Reads the operator's CSV files, and plans what has to change.
struct ReferenceImport {
    let storage: any LedgerStorage

    /// A row of the ledger's own tables, written beside the record that devices are sent.
    enum Row {
        case territory(Territory)
        case team(TeamRow)
        case category(code: String, name: String)
    }

    struct PlannedChange {
        /// The record that exists for the row's key, or `nil` for a new one.
        var key: Int64?
        var kind: Kind
        var fields: [Change]
        var row: Row
    }

    struct Plan {
        var changes: [PlannedChange] = []
        var routes: [RouteRow] = []
        var report = ImportReport(added: 0, updated: 0, unchanged: 0)
    }

    func store(_ row: Row, key: Int64) throws {
        switch row {
        case .territory(let territory): try storage.setTerritory(territory, key: key)
        case .team(let team): try storage.setTeam(team, key: key)
        case .category(let code, let name):
            try storage.setCategory(code: code, name: name, key: key)
        }
    }

    /// Checks the whole file before anything of it is stored.
    ///
    /// - Parameter banner: The code of the ledger's own.
    func plan(_ table: ReferenceTable, csv: String, banner: String) throws -> Plan {
        guard csv.utf8.count <= LedgerLimits.importBytesMax else {
            throw LedgerError.invalid(
                "the file is larger than \(LedgerLimits.importBytesMax) bytes",
                hint: "import it in parts")
        }
        switch table {
        case .territory: return try planTerritory(csv, banner: banner)
        case .teams: return try planTeams(csv)
        case .categories: return try planCategories(csv)
        case .routes: return try planRoutes(csv)
        }
    }

    // MARK: Tables

    private func planTerritory(_ csv: String, banner: String) throws -> Plan {
        let rows = try CSVTable(csv, columns: ["code", "name", "level", "parent"])
        var known: [String: Territory] = [:]
        for territory in try storage.territories() { known[territory.code] = territory }
        let before = known
        var gridCount = before.values.count { $0.level == .grid }
        var parsed: [(line: Int, territory: Territory)] = []
        var seen: Set<String> = []
        for row in rows.rows {
            let code = try row.code("code")
            guard seen.insert(code).inserted else { throw row.fault("code", "given twice") }
            guard let level = TerritoryLevel(rawValue: try row.text("level")) else {
                throw row.fault("level", "not banner, town, village or grid")
            }
            let parent = try row.optional("parent")
            if (parent == nil) != (level == .banner) {
                throw row.fault(
                    "parent", level == .banner ? "a banner has none" : "missing")
            }
            // No row is ever removed, so another banner's table would stay for good. Where one came
            // before this was asked, it can be imported on.
            if level == .banner, code != banner, before[code]?.level != .banner {
                throw row.fault("code", "this is the ledger of banner \(banner)")
            }
            let territory = Territory(
                code: code, name: try row.text("name"), level: level, parent: parent)
            if let former = before[code], former.level != level {
                throw row.fault("level", "was \(former.level.rawValue) before")
            }
            known[code] = territory
            parsed.append((row.line, territory))
            if level == .grid && before[code] == nil { gridCount += 1 }
            guard gridCount <= LedgerLimits.gridsMax else {
                throw row.fault("code", "more than \(LedgerLimits.gridsMax) grids")
            }
        }
        let levels = TerritoryLevel.allCases
        for (line, territory) in parsed {
            guard let parent = territory.parent else { continue }
            guard let above = known[parent] else {
                throw LedgerError.row(line: line, column: "parent", "no territory has this code")
            }
            guard levels.firstIndex(of: above.level)! < levels.firstIndex(of: territory.level)!
            else {
                throw LedgerError.row(
                    line: line, column: "parent",
                    "a \(territory.level.rawValue) cannot lie in a \(above.level.rawValue)")
            }
        }
        var plan = Plan()
        for (_, territory) in parsed {
            try add(
                to: &plan, table: .territory, kind: .territory, code: territory.code,
                isUnchanged: before[territory.code] == territory, row: .territory(territory),
                texts: [
                    (TerritoryField.code.rawValue, territory.code),
                    (TerritoryField.name.rawValue, territory.name),
                    (TerritoryField.level.rawValue, territory.level.rawValue),
                    (TerritoryField.parent.rawValue, territory.parent),
                ])
        }
        return plan
    }

    private func planTeams(_ csv: String) throws -> Plan {
        let rows = try CSVTable(csv, columns: ["id", "name", "territory"])
        var plan = Plan()
        var seen: Set<String> = []
        for row in rows.rows {
            let team = TeamRow(
                code: try row.code("id"), name: try row.text("name"),
                territory: try row.code("territory"))
            guard seen.insert(team.code).inserted else { throw row.fault("id", "given twice") }
            guard try storage.territory(team.territory) != nil else {
                throw row.fault("territory", "no territory has this code")
            }
            try add(
                to: &plan, table: .teams, kind: .team, code: team.code,
                isUnchanged: try storage.team(team.code) == team, row: .team(team),
                texts: [
                    (TeamField.code.rawValue, team.code), (TeamField.name.rawValue, team.name),
                    (TeamField.territory.rawValue, team.territory),
                ])
        }
        return plan
    }

    private func planCategories(_ csv: String) throws -> Plan {
        let rows = try CSVTable(csv, columns: ["code", "name"])
        var plan = Plan()
        var seen: Set<String> = []
        for row in rows.rows {
            let code = try row.code("code")
            let name = try row.text("name")
            guard seen.insert(code).inserted else { throw row.fault("code", "given twice") }
            try add(
                to: &plan, table: .categories, kind: .category, code: code, isUnchanged: false,
                row: .category(code: code, name: name),
                texts: [(CategoryField.code.rawValue, code), (CategoryField.name.rawValue, name)])
        }
        return plan
    }

    private func planRoutes(_ csv: String) throws -> Plan {
        let rows = try CSVTable(csv, columns: ["category", "territory", "team", "due_days"])
        var plan = Plan()
        var seen: Set<[String]> = []
        for row in rows.rows {
            let category = try row.code("category")
            let territory = try row.code("territory")
            let team = try row.code("team")
            guard try storage.isCategory(category) else {
                throw row.fault("category", "no category has this code")
            }
            guard try storage.territory(territory) != nil else {
                throw row.fault("territory", "no territory has this code")
            }
            guard try storage.team(team) != nil else {
                throw row.fault("team", "no team has this id")
            }
            guard seen.insert([category, territory]).inserted else {
                throw row.fault("territory", "this category has a route here already")
            }
            var dueDays: Int64?
            if let text = try row.optional("due_days") {
                guard let days = Int64(text), (0...3_650).contains(days) else {
                    throw row.fault("due_days", "not a number of days from 0 to 3650")
                }
                dueDays = days
            }
            let route = RouteRow(
                category: category, territory: territory, team: team, dueDays: dueDays)
            switch try storage.route(category: category, territory: territory) {
            case route: plan.report.unchanged += 1
            case nil:
                plan.report.added += 1
                plan.routes.append(route)
            default:
                plan.report.updated += 1
                plan.routes.append(route)
            }
        }
        return plan
    }

    /// Plans only the fields that differ from what devices were sent.
    private func add(
        to plan: inout Plan, table: ReferenceTable, kind: Kind, code: String,
        isUnchanged: Bool, row: Row, texts: [(field: UInt32, text: String?)]
    ) throws {
        let key = try storage.referenceKey(table, code: code)
        let stored = try key.flatMap { try storage.record(key: $0) }
        let fields = texts.compactMap { entry -> Change? in
            let value = entry.text.map { Array($0.utf8) }
            if stored?.state.value(of: entry.field) == value { return nil }
            return Change(field: entry.field, value: value)
        }
        if fields.isEmpty {
            plan.report.unchanged += 1
            return
        }
        plan.changes.append(PlannedChange(key: key, kind: kind, fields: fields, row: row))
        if key == nil { plan.report.added += 1 } else { plan.report.updated += 1 }
    }
}

/// A CSV file with a header (RFC 4180), every cell of which knows its line and column.
///
/// Our own because an operator must be told where a file is wrong, and the CSV libraries at hand
/// do not keep line numbers across quoted line breaks.
struct CSVTable {
    struct Row {
        /// Where the row begins; the header is line 1.
        let line: Int
        fileprivate let cells: [String: String]

        func fault(_ column: String, _ what: String) -> LedgerError {
            .row(line: line, column: column, what)
        }

        func text(_ column: String) throws -> String {
            guard let text = try optional(column) else { throw fault(column, "missing") }
            return text
        }

        func optional(_ column: String) throws -> String? {
            guard let text = cells[column], !text.isEmpty else { return nil }
            guard text.utf8.count <= 256 else { throw fault(column, "longer than 256 bytes") }
            guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
            else { throw fault(column, "has control characters") }
            return text
        }

        /// A key: letters, digits, `-`, `_` and `.`, at most 64 bytes.
        func code(_ column: String) throws -> String {
            let text = try text(column)
            let isCode = text.unicodeScalars.allSatisfy {
                $0.properties.isAlphabetic || ("0"..."9").contains($0)
                    || $0 == "-" || $0 == "_" || $0 == "."
            }
            guard isCode, text.utf8.count <= 64 else {
                throw fault(column, "not letters, digits, - _ . of at most 64 bytes")
            }
            return text
        }
    }

    private(set) var rows: [Row] = []

    init(_ text: String, columns: [String]) throws {
        let records = try Self.records(of: text)
        guard let header = records.first else {
            throw LedgerError.row(line: 1, column: columns[0], "the file is empty")
        }
        for column in columns where !header.cells.contains(column) {
            throw LedgerError.row(line: 1, column: column, "this column is missing")
        }
        for column in header.cells where !columns.contains(column) {
            throw LedgerError.row(line: 1, column: column, "this column is not known")
        }
        guard Set(header.cells).count == header.cells.count else {
            throw LedgerError.row(line: 1, column: columns[0], "a column is there twice")
        }
        guard records.count <= LedgerLimits.importRowsMax else {
            throw LedgerError.row(
                line: LedgerLimits.importRowsMax, column: columns[0], "too many rows")
        }
        for record in records.dropFirst() {
            if record.cells == [""] { continue }
            guard record.cells.count == header.cells.count else {
                throw LedgerError.row(
                    line: record.line,
                    column: header.cells[
                        min(record.cells.count, header.cells.count - 1)],
                    "the row has \(record.cells.count) cells, the header \(header.cells.count)")
            }
            rows.append(
                Row(
                    line: record.line,
                    cells: Dictionary(uniqueKeysWithValues: zip(header.cells, record.cells))))
        }
    }

    /// Reads scalars: a mark that combines with a comma or a quote before it takes nothing away from
    /// what that means.
    private static func records(of text: String) throws -> [(line: Int, cells: [String])] {
        var records: [(line: Int, cells: [String])] = []
        var cells: [String] = []
        var cell = String.UnicodeScalarView()
        var line = 1
        var startLine = 1
        var isQuoted = false
        var wasQuoted = false
        func trimmed() -> String {
            if wasQuoted { return String(cell) }
            var view = cell[...]
            while view.first == " " { view.removeFirst() }
            while view.last == " " { view.removeLast() }
            return String(view)
        }
        var rest = text.unicodeScalars[...]
        if rest.first == "\u{FEFF}" { rest.removeFirst() }
        while let scalar = rest.popFirst() {
            // Of CR LF, the second ends the line.
            let endsLine = scalar == "\n" || scalar == "\r" && rest.first != "\n"
            if isQuoted {
                if scalar != "\"" {
                    if endsLine { line += 1 }
                    cell.append(scalar)
                } else if rest.first == "\"" {
                    cell.append(rest.removeFirst())
                } else {
                    isQuoted = false
                }
                continue
            }
            switch scalar {
            case "\"" where cell.isEmpty && !wasQuoted:
                isQuoted = true
                wasQuoted = true
            case ",":
                cells.append(trimmed())
                (cell, wasQuoted) = (String.UnicodeScalarView(), false)
            case "\n", "\r":
                guard endsLine else { continue }
                cells.append(trimmed())
                records.append((startLine, cells))
                (cells, cell, wasQuoted) = ([], String.UnicodeScalarView(), false)
                line += 1
                startLine = line
            default:
                if wasQuoted {
                    throw LedgerError.row(
                        line: line, column: "\(cells.count + 1)", "text after a closing quote")
                }
                cell.append(scalar)
            }
        }
        if isQuoted {
            throw LedgerError.row(
                line: startLine, column: "\(cells.count + 1)", "a quote is never closed")
        }
        if !cell.isEmpty || !cells.isEmpty || wasQuoted {
            cells.append(trimmed())
            records.append((startLine, cells))
        }
        return records
    }
}
