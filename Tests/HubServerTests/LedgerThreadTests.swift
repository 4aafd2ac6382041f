import Dispatch
import HTTPTypes
import HubLedger
import NeedModel
import SyncCore
import Synchronization
import Testing
import WireFormat

@testable import HubServer

@Suite struct LedgerThreadTests {
    /// Numbers in the order in which several threads noted them.
    private final class Notes: Sendable {
        private let numbers = Mutex<[Int]>([])
        func add(_ number: Int) { numbers.withLock { $0.append(number) } }
        var all: [Int] { numbers.withLock { $0 } }
    }

    private static func with(
        commits: Notes = Notes(), _ test: (LedgerThread, String) async throws -> Void
    ) async throws {
        let directory = try TestHub.makeDirectory()
        defer { TestHub.removeDirectory(directory) }
        let path = directory + "/ledger"
        try TestHub.makeLedger(at: path)
        let thread = try await LedgerThread.start(
            open: { try Ledger(opening: path, clock: wallMilliseconds) },
            onCommit: { commits.add($0.batches) })
        try await test(thread, path)
        await thread.stop()
    }

    /// Keeps the thread busy until the gate opens; returns once it is.
    private static func block(_ thread: LedgerThread, until gate: DispatchSemaphore) async {
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        Task {
            try await thread.call { _ in
                start.yield()
                gate.wait()
            }
        }
        var iterator = started.makeAsyncIterator()
        await iterator.next()
    }

    @Test func waitingSyncsShareOneCommit() async throws {
        let commits = Notes()
        try await Self.with(commits: commits) { thread, path in
            let ledger = try Ledger(opening: path, clock: wallMilliseconds)
            var requests: [(token: String, request: SyncRequest)] = []
            for number in 1...20 {
                let code = try ledger.invite(
                    role: .worker, territory: TestHub.grid, team: nil, name: "d\(number)",
                    lifetimeSeconds: 60)
                let token = try ledger.enroll(EnrollRequest(code: code, replica: .none)).token
                var device = TestDevice(token: token, replica: UInt64(number))
                requests.append((token, device.recordingNeed("需求").request))
            }
            let gate = DispatchSemaphore(value: 0)
            await Self.block(thread, until: gate)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (token, request) in requests {
                    group.addTask {
                        let frame = try Frame.encode(request.encoded(), usesDictionary: true)
                        _ = try await thread.sync(
                            token: token, request: .success(request), frame: frame
                        ).message.get()
                    }
                }
                // The gate opens when all of them wait.
                while thread.queuedJobs < requests.count { await Task.yield() }
                gate.signal()
                try await group.waitForAll()
            }
            #expect(commits.all == [20])
        }
    }

    /// What fails otherwise says nothing of the disk.
    @Test func diskThatFailedIsKnownAndNotTriedAtOnce() async throws {
        try await Self.with { thread, _ in
            func fail(_ error: LedgerError) async {
                try? await thread.call { _ -> Void in throw error }
            }
            await fail(.busy)
            await fail(.damaged("a page"))
            let canStore = try await thread.canStore()
            #expect(canStore)
            await fail(.disk("no space", hint: ""))
            let canStoreAfterwards = try await thread.canStore()
            #expect(!canStoreAfterwards)
        }
    }

    /// Devices that push again and again share commits with what comes meanwhile; calls between
    /// them get their turn, and the thread ends when it is told to.
    @Test func pushesAndCallsGetTheirTurn() async throws {
        let commits = Notes()
        try await Self.with(commits: commits) { thread, path in
            let ledger = try Ledger(opening: path, clock: wallMilliseconds)
            let (devices, pushes) = (8, 10)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 1...devices {
                    let code = try ledger.invite(
                        role: .worker, territory: TestHub.grid, team: nil, name: "d\(number)",
                        lifetimeSeconds: 60)
                    let token = try ledger.enroll(EnrollRequest(code: code, replica: .none)).token
                    group.addTask {
                        for push in 0..<pushes {
                            var device = TestDevice(
                                token: token, replica: UInt64(number * 100 + push))
                            let request = device.recordingNeed("需求").request
                            let frame = try Frame.encode(request.encoded(), usesDictionary: true)
                            _ = try await thread.sync(
                                token: token, request: .success(request), frame: frame
                            ).message.get()
                        }
                    }
                }
                group.addTask {
                    for _ in 0..<pushes { _ = try await thread.call { try $0.info() } }
                }
                try await group.waitForAll()
            }
            #expect(commits.all.reduce(0, +) == devices * pushes)
        }
    }

    @Test func callsRunInTheirOrder() async throws {
        try await Self.with { thread, _ in
            let gate = DispatchSemaphore(value: 0)
            await Self.block(thread, until: gate)
            let order = Notes()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<10 {
                    group.addTask {
                        try await thread.call { _ in order.add(number) }
                    }
                    while thread.queuedJobs <= number { await Task.yield() }
                }
                gate.signal()
                try await group.waitForAll()
            }
            #expect(order.all == Array(0..<10))
        }
    }

    @Test func fullQueueRefusesOneMore() async throws {
        try await Self.with { thread, _ in
            let gate = DispatchSemaphore(value: 0)
            await Self.block(thread, until: gate)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<HubLimits.queuedJobsMax {
                    group.addTask { try await thread.call { _ in } }
                }
                while thread.queuedJobs < HubLimits.queuedJobsMax { await Task.yield() }
                await #expect(throws: LedgerThreadFault.queueFull) {
                    try await thread.call { _ in }
                }
                gate.signal()
                try await group.waitForAll()
            }
        }
    }

    @Test func whatWaitsIsDoneBeforeTheThreadEnds() async throws {
        try await Self.with { thread, path in
            let other = try await LedgerThread.start(
                open: { try Ledger(opening: path, clock: wallMilliseconds) }, onCommit: { _ in })
            let gate = DispatchSemaphore(value: 0)
            await Self.block(other, until: gate)
            async let result = other.call { try $0.info().banner }
            while other.queuedJobs < 1 { await Task.yield() }
            async let stopped: Void = other.stop()
            gate.signal()
            #expect(try await result == "152921")
            await stopped
            await #expect(throws: LedgerThreadFault.stopping) { try await other.call { _ in } }
        }
    }

    @Test func errorOfACallIsItsCallers() async throws {
        try await Self.with { thread, _ in
            await #expect(throws: LedgerError.self) {
                try await thread.call { try $0.revoke(device: 99) }
            }
        }
    }

    @Test func ledgerThatCannotBeOpenedIsSaid() async throws {
        await #expect(throws: LedgerError.self) {
            _ = try await LedgerThread.start(
                open: { try Ledger(opening: "/nonexistent/ledger", clock: wallMilliseconds) },
                onCommit: { _ in })
        }
    }

    /// An unknown caller does not learn what was wrong with the frame; a known one does.
    @Test func tokenIsLookedUpBeforeTheFrameIsJudged() async throws {
        try await Self.with { thread, path in
            let ledger = try Ledger(opening: path, clock: wallMilliseconds)
            let code = try ledger.invite(
                role: .worker, territory: TestHub.grid, team: nil, name: "d", lifetimeSeconds: 60)
            let enrolled = try ledger.enroll(EnrollRequest(code: code, replica: .none))
            let stranger = await thread.sync(
                token: "stranger", request: .failure(FrameError.damaged), frame: [])
            let refusal = #expect(throws: LedgerError.self) { _ = try stranger.message.get() }
            #expect(refusal?.description == LedgerError.tokenUnknown.description)
            let known = await thread.sync(
                token: enrolled.token, request: .failure(FrameError.damaged), frame: [])
            #expect(throws: FrameError.damaged) { _ = try known.message.get() }
            #expect(known.device == enrolled.assignment.device)
        }
    }
}

@Suite struct HubFaultTests {
    @Test(
        arguments: [
            (LedgerThreadFault.queueFull, 503), (LedgerThreadFault.stopping, 503),
            (LedgerError.busy, 503), (LedgerError.disk("no space", hint: ""), 503),
            (LedgerError.damaged("a page"), 500), (LedgerError.codeExpired, 410),
            (LedgerError.revoked, 403), (CancellationError(), 500),
        ] as [(any Error, Int)])
    func errorHasItsStatus(error: any Error, status: Int) {
        #expect(HubFault(error).status.code == status)
    }

    @Test(
        arguments: [
            LedgerThreadFault.queueFull, LedgerThreadFault.stopping, LedgerError.busy,
            LedgerError.disk("no space", hint: ""),
        ] as [any Error])
    func passingTroubleSaysWhenToTryAgain(error: any Error) {
        #expect(HubFault(error).fields[.retryAfter].flatMap { Int($0) } ?? 0 > 0)
    }

    /// How the server stores things is not for whoever asks from outside.
    @Test(arguments: [
        LedgerError.disk("SECRET", hint: "SECRET"), .damaged("SECRET"),
        .file("SECRET", hint: "SECRET"),
    ])
    func insideOfTheServerStaysInside(error: LedgerError) {
        let fault = HubFault(error)
        #expect(!(fault.message + fault.hint).contains("SECRET"))
    }

    @Test func memoryThatWasRefusedIsNotTaken() {
        let budget = MemoryBudget()
        #expect(budget.take(HubLimits.bufferedBytesMax))
        #expect(!budget.take(1))
        budget.release(HubLimits.bufferedBytesMax)
        #expect(budget.take(HubLimits.bufferedBytesMax))
    }
}
