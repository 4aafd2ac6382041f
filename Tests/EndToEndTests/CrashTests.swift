import Foundation
import Glibc
import Synchronization
import Testing

/// Runs rounds that share one source of randomness, and names the seed of a failure.
///
/// The seed decides what is done and when; what the machine does meanwhile is its own affair, so a
/// replay may need some tries.
func forEachRound(
    _ rounds: Int, test: String = #function,
    _ body: (Int, inout SplitMix64) async throws -> Void
) async throws {
    let environment = ProcessInfo.processInfo.environment
    let seed = environment["WAYSTATION_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...999_999)
    var random = SplitMix64(seed: seed)
    for round in 0..<rounds {
        do {
            try await body(round, &random)
        } catch {
            throw Surprise(
                """
                round \(round): \(error)
                replay: WAYSTATION_SEED=\(seed) swift test --filter \(test.prefix { $0 != "(" })
                """)
        }
    }
}

/// Programs that are killed, as by an empty battery: what was acknowledged is there afterwards, and
/// nothing is there twice.
@Suite(.lane) struct CrashTests {
    private static let rounds = Programs.isLong ? 100 : 10
    /// A sync of a round moves some 700 bytes, headers included; a cut beyond them does not come.
    private static let bytesMax = 750

    /// A worker behind a proxy, and an office that makes work for its pulls.
    private struct Scene {
        let world: World
        let proxy: CuttingProxy
        let worker: Device
        let office: Device

        init() async throws {
            world = try await World()
            proxy = try CuttingProxy(before: world.port)
            worker = world.device("worker")
            try await worker.enroll(proxy.url, world.invite(.worker, name: "worker"))
            office = try await world.enrolled("office", .office)
        }

        /// Three needs wait on the worker's device and two at the hub.
        func prepare(round: Int) async throws {
            for number in 0..<3 { _ = try await worker.add("工\(round)-\(number)") }
            for number in 0..<2 { _ = try await office.add("所\(round)-\(number)") }
            try await office.sync()
        }

        /// - Throws: ``Surprise`` unless everything up to this round is at the hub and on the
        ///   device, once, and acknowledged.
        func verify(round: Int) async throws {
            let expected = (0...round).flatMap { round in
                (0..<3).map { "工\(round)-\($0)" } + (0..<2).map { "所\(round)-\($0)" }
            }.sorted()
            let stored = try await world.needs().compactMap { $0["text"].text }.sorted()
            guard stored == expected else { throw Surprise("the hub has \(stored)") }
            let held = try await worker.needs()
            let texts = held.compactMap { $0["text"].text }.sorted()
            guard texts == expected else { throw Surprise("the device has \(texts)") }
            let unsent = held.filter { $0["unsent"].isTrue }
            guard unsent.isEmpty else { throw Surprise("not acknowledged: \(unsent)") }
            let refused = try await worker.refused()
            guard refused.isEmpty else { throw Surprise("refused: \(refused)") }
            try await world.check()
        }
    }

    /// Runs the rounds with random cuts.
    private func forEachRound(
        test: String = #function, _ body: (Int, _ cutAfter: Int) async throws -> Void
    ) async throws {
        try await EndToEndTests.forEachRound(Self.rounds, test: test) { round, random in
            try await body(round, 1 + random.below(Self.bytesMax))
        }
    }

    @Test func clientKilledInMidSyncLosesNothing() async throws {
        let scene = try await Scene()
        try await forEachRound { round, cutAfter in
            try await scene.prepare(round: round)
            let isCut = Atomic(false)
            scene.proxy.arm(after: cutAfter) { isCut.store(true, ordering: .relaxed) }
            let sync = try scene.worker.start(["sync"])
            try await eventually("the cut") {
                isCut.load(ordering: .relaxed) || sync.hasEnded
            }
            sync.signal(SIGKILL)
            _ = try await sync.end()
            scene.proxy.disarm()
            try await scene.worker.sync()
            try await scene.verify(round: round)
        }
    }

    @Test func serverKilledInMidRequestLosesNothing() async throws {
        let scene = try await Scene()
        try await forEachRound { round, cutAfter in
            try await scene.prepare(round: round)
            scene.proxy.arm(after: cutAfter) { scene.world.signalServer(SIGKILL) }
            let sync = try scene.worker.start(["sync"])
            try await eventually("the cut") { !scene.proxy.isArmed || sync.hasEnded }
            scene.proxy.disarm()
            try await scene.world.killServer()
            try await scene.world.restart()
            // The client tries again by itself.
            try await sync.end().expect(0)
            try await scene.verify(round: round)
        }
    }

    /// No proxy: the moment is random, and may be before, in or after the commit.
    @Test func serverKilledAtAnyMomentLosesNothing() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        try await forEachRound { round, delay in
            let text = "水\(round)"
            _ = try await worker.add(text)
            let sync = try worker.start(["sync"])
            try await Task.sleep(for: .microseconds(delay * 50))
            try await world.killServer()
            _ = try await sync.end()
            try await world.restart()
            try await worker.sync()
            let stored = try await world.needs().filter { $0["text"].text == text }
            guard stored.count == 1 else {
                throw Surprise("\(text) is there \(stored.count) times")
            }
            try await world.check()
        }
    }

    /// Whatever said "recorded" is recorded.
    @Test func recordingThatWasConfirmedSurvives() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        try await world.stop()
        var confirmed: Set<String> = []
        try await EndToEndTests.forEachRound(Self.rounds) { round, random in
            for step in 0..<4 {
                let text = "水\(round)-\(step)"
                let add = try worker.start(
                    ["need", "add", text, "--grid", "152921100001001"])
                try await Task.sleep(for: .milliseconds(random.below(61)))
                add.signal(SIGKILL)
                if try await add.end().stdout.hasPrefix("recorded") { confirmed.insert(text) }
            }
            let listed = Set(try await worker.needs().compactMap { $0["text"].text })
            guard confirmed.isSubset(of: listed) else {
                throw Surprise("lost: \(confirmed.subtracting(listed))")
            }
        }
        try await world.restart()
        try await worker.sync()
        let stored = try await world.needs().compactMap { $0["text"].text }
        #expect(confirmed.isSubset(of: stored))
        #expect(Set(stored).count == stored.count)
    }

    // MARK: Under load

    /// Three devices record and sync as fast as they can, and in each round some of them or the
    /// server, or all, die wherever they stand.
    @Test func killsUnderLoadLoseNothing() async throws {
        let world = try await World()
        var devices: [Device] = []
        for (name, post) in [("a", Post.worker), ("b", .worker), ("c", .office)] {
            devices.append(try await world.enrolled(name, post))
        }
        // Only what the program confirmed counts, so what follows it must be told by the shell.
        let script = """
            for number in 1 2; do
                "$0" need add "$1-$number" --grid 152921100001001 >/dev/null && echo "$1-$number"
                "$0" sync >/dev/null
            done
            """
        var confirmed: Set<String> = []
        try await EndToEndTests.forEachRound(Programs.isLong ? 200 : 20) { round, random in
            let victims = 1 + random.below(15)
            let delay = random.below(300)
            var children: [Child] = []
            for device in devices {
                children.append(
                    try world.start(
                        ["sh", "-c", script, Programs.client, "\(round)\(device.name)"],
                        environment: ["WAYSTATION_HOME": device.home]))
            }
            try await Task.sleep(for: .milliseconds(delay))
            for (number, child) in children.enumerated() where victims & 1 << number != 0 {
                child.signal(SIGKILL)
            }
            if victims & 8 != 0 {
                try await world.killServer()
                try await world.restart()
            }
            for child in children { confirmed.formUnion(try await child.end().lines) }
            let findings = try await world.admin("check").stdout
            guard findings.isEmpty else { throw Surprise(findings) }
        }
        for device in devices { try await device.sync() }
        let stored = try await world.needs().compactMap { $0["text"].text }
        #expect(confirmed.subtracting(stored) == [])
        #expect(Set(stored).count == stored.count)
        try await world.check()
        for device in devices {
            // Those that synced first lack what the others brought afterwards.
            try await device.sync()
            #expect(
                try await device.needs().compactMap { $0["text"].text }.sorted() == stored.sorted())
            #expect(try await device.waiting() == 0)
            #expect(try await device.refused() == [])
            #expect(
                try await SQLite.rows(
                    of: "PRAGMA integrity_check", on: device.home + "/journal.sqlite", in: world)
                    == ["ok"])
        }
        #expect(!confirmed.isEmpty)
    }
}
