import Foundation
import Testing

// Shared by the test targets of rows 0 to 2 through symbolic links.

/// Steele, Lea and Flood 2014: the same numbers from the same seed, everywhere and for ever.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// True once in so many times.
    mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

    /// Numbers that break arithmetic more often than others.
    mutating func wildNumber() -> Int64 {
        switch below(6) {
        case 0: [.min, .min + 1, -1, 0, 1, .max - 1, .max].randomElement(using: &self)!
        case 1: Int64(truncatingIfNeeded: next())
        case 2: Int64.random(in: -1_000...1_000, using: &self)
        case 3: 0  // 1970
        case 4: 2_147_483_648_000  // 2038
        default: Int64.random(in: 1_600_000_000_000...1_900_000_000_000, using: &self)
        }
    }

    mutating func bytes(countMax: Int) -> [UInt8] {
        (0..<below(countMax + 1)).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

struct PropertyFailure: Error, CustomStringConvertible {
    let description: String
}

/// Like `#require`, but cheap enough for millions of checks.
func check(
    _ condition: Bool, _ what: @autoclosure () -> String = "", line: Int = #line
) throws(PropertyFailure) {
    if !condition { throw PropertyFailure(description: "line \(line): \(what())") }
}

/// Runs a property over seeds 0, 1, 2 … and stops at the first that fails, naming it.
///
/// `WAYSTATION_SEED` replays one seed; `WAYSTATION_LONG` runs ten times as many, and
/// `WAYSTATION_HISTORIES` any number.
func forEachSeed(
    _ count: Int, test: String = #function, sourceLocation: SourceLocation = #_sourceLocation,
    _ property: (inout SplitMix64) throws -> Void
) {
    let environment = ProcessInfo.processInfo.environment
    let usual = environment["WAYSTATION_LONG"] == nil ? count : count * 10
    var seeds = 0..<UInt64(environment["WAYSTATION_HISTORIES"].flatMap { Int($0) } ?? usual)
    if let seed = environment["WAYSTATION_SEED"].flatMap({ UInt64($0) }) {
        seeds = seed..<seed + 1
    }
    for seed in seeds {
        var generator = SplitMix64(seed: seed)
        do {
            try property(&generator)
        } catch {
            let name = test.prefix { $0 != "(" }
            Issue.record(
                """
                seed \(seed): \(error)
                replay: WAYSTATION_SEED=\(seed) swift test --filter '\(name)'
                """, sourceLocation: sourceLocation)
            return
        }
    }
}

/// Files of the repository, found from this source file; tests run from a checkout.
enum Repository {
    /// `Tests/NAME/Seeds.swift`, less three parts. The path is resolved, because a checkout may be
    /// reached through links.
    static let root = URL(filePath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func bytes(_ path: String) throws -> [UInt8] {
        try Array(Data(contentsOf: root.appending(path: path)))
    }

    static func text(_ path: String) throws -> String {
        String(decoding: try bytes(path), as: UTF8.self)
    }

    /// Compares text with a kept file; `WAYSTATION_RECORD=1` writes the file anew.
    static func expectGolden(
        _ text: String, at path: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let url = root.appending(path: path)
        if ProcessInfo.processInfo.environment["WAYSTATION_RECORD"] == "1" {
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        let kept = (try? Self.text(path)) ?? ""
        #expect(
            text == kept, "\(path) differs; WAYSTATION_RECORD=1 swift test writes it anew",
            sourceLocation: sourceLocation)
    }
}
