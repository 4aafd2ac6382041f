import Foundation
import Testing

/// SyncCore is values and state machines: no Foundation, clock, randomness or I/O.
@Suite struct ImportTests {
    private func sources() throws -> [URL] {
        let folder = Repository.root.appending(path: "Sources/SyncCore")
        return try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil
        ).filter { $0.pathExtension == "swift" }
    }

    @Test func syncCoreImportsNothing() throws {
        let files = try sources()
        #expect(files.count >= 10)
        for file in files {
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                #expect(
                    !line.split(separator: " ").contains("import"),
                    "\(file.lastPathComponent): \(line)")
            }
        }
    }

    @Test func syncCoreReadsNoClockAndDrawsNothing() throws {
        for file in try sources() {
            let text = try String(contentsOf: file, encoding: .utf8)
            for word in [
                "ContinuousClock", "SuspendingClock", "clock_gettime",
                "SystemRandomNumberGenerator",
            ] {
                #expect(!text.contains(word), "\(file.lastPathComponent): \(word)")
            }
        }
    }
}
