import Foundation
import Testing

/// The rows of DESIGN.md §5, and what a stranger is told first.
@Suite struct HouseTests {
    /// A row imports only rows beneath it.
    private static let rows: [[String]] = [
        ["SyncCore"],
        ["NeedModel"],
        ["WireFormat", "SQLiteStore", "TerminalUI", "SimulatedDisk"],
        ["DeviceJournal", "HubLedger"],
        ["DeviceSync", "HubServer", "Simulation"],
        ["waystation", "waystation-server", "simulate", "bench"],
    ]

    private static let sources = Programs.repository.appending(path: "Sources")

    /// Each of our modules with its row; Swift names a target's module with underscores.
    private static let rowOfModule: [String: Int] = Dictionary(
        uniqueKeysWithValues: rows.enumerated().flatMap { row, names in
            names.map { ($0.replacing("-", with: "_"), row) }
        })

    @Test func everyTargetHasARow() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.sources.path)
        // Headers of C libraries, which import nothing of ours.
        let targets = Set(folders).subtracting(["CLibraries"])
        #expect(
            targets == Set(Self.rows.joined()), "say in this file to which row a target belongs")
    }

    @Test(arguments: rows.joined())
    func importsGoDownwardsOnly(target: String) throws {
        let row = try #require(Self.rows.firstIndex { $0.contains(target) })
        let folder = Self.sources.appending(path: target)
        let files = try #require(
            FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        ).compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
        #expect(!files.isEmpty)
        for file in files {
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                guard let module = Self.importedModule(in: line) else { continue }
                guard let imported = Self.rowOfModule[module] else { continue }
                #expect(imported < row, "\(target)/\(file.lastPathComponent): \(line)")
            }
        }
    }

    /// The module that a line imports, whatever stands around its name.
    private static func importedModule(in line: Substring) -> String? {
        let pattern =
            #/
            ^\s*(?:@\w+(?:\([^)]*\))?\s+)*
            (?:(?:public|package|internal|fileprivate|private)\s+)?
            import\s+(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)
            /#
        return line.prefixMatch(of: pattern).map { String($0.1) }
    }

    @Test(arguments: [
        ("import SyncCore", "SyncCore"), ("  package import NeedModel", "NeedModel"),
        ("@preconcurrency import Glibc", "Glibc"), ("@_exported public import A", "A"),
        ("import struct NeedModel.Role", "NeedModel"), ("// import SyncCore", nil),
        ("let import_ = 1", nil),
    ])
    func importsAreRecognised(line: String, module: String?) {
        #expect(Self.importedModule(in: line[...]) == module)
    }

    @Test(arguments: ["tools/demo", "tools/test"])
    func readmeNamesTheTwoCommands(command: String) throws {
        let readme = try String(
            contentsOf: Programs.repository.appending(path: "README.md"), encoding: .utf8)
        #expect(readme.contains(command))
        let path = Programs.repository.appending(path: command).path
        #expect(FileManager.default.isExecutableFile(atPath: path))
    }
}
