import Dispatch
import Glibc
package import HubLedger
import Synchronization
package import WireFormat

/// The one thread that owns the ledger, and the bounded queue before it.
///
/// The ledger's calls block, up to seconds when another process holds it, so they run on neither
/// an event loop nor Swift's cooperative threads. Each time the thread wakes it takes all that
/// waits: calls run in the order of their arrival, then all sync requests go to the ledger
/// together and share one commit, since a disk may do only some hundred commits a second; and so
/// do such as come meanwhile, see ``CommitPace``.
///
/// The ledger is created on the thread, used on it and closed on it.
package final class LedgerThread: Sendable {
    private enum Job {
        case call(@Sendable (Ledger) -> Void)
        case sync(SyncJob)
    }

    private struct SyncJob {
        var token: String
        var request: Result<SyncRequest, any Error>
        var frame: [UInt8]
        var reply: @Sendable (SyncReply) -> Void
    }

    /// What became of one sync request: the message that goes into the answer's frame.
    package typealias SyncReply = Ledger.SyncReply<[UInt8]>

    private struct State {
        var jobs: [Job] = []
        var isStopping = false
        /// Whoever stops the thread, until it has ended.
        var stopper: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    /// Signalled when the queue stops being empty, not for each job: one wait takes all of them.
    private let wakeUp = DispatchSemaphore(value: 0)
    private let onCommit: @Sendable (SyncFigures) -> Void
    /// Of tokens that the ledger knew when it was last asked, the hash values, whose seed is this
    /// process's own: no token stays in memory for that.
    private let knownTokens = Mutex(Set<Int>())
    /// When the disk failed, and since then was last tried; `nil` while all is well.
    private let diskFailure = Mutex<ContinuousClock.Instant?>(nil)

    private init(onCommit: @escaping @Sendable (SyncFigures) -> Void) {
        self.onCommit = onCommit
    }

    /// Starts the thread and opens the ledger on it.
    ///
    /// - Parameters:
    ///   - open: Opens the ledger; what it throws is passed on, and the thread ends.
    ///   - onCommit: Told of each commit's counts, on the thread.
    package static func start(
        open: @escaping @Sendable () throws -> Ledger,
        onCommit: @escaping @Sendable (SyncFigures) -> Void
    ) async throws -> LedgerThread {
        let thread = LedgerThread(onCommit: onCommit)
        try await withCheckedThrowingContinuation {
            (opened: CheckedContinuation<Void, any Error>) in
            spawnThread {
                thread.run(open, opened)
                // Only now is the ledger closed, so whoever waits may open it again.
                thread.state.withLock { $0.stopper.take() }?.resume()
            }
        }
        return thread
    }

    /// Runs a call on the thread.
    ///
    /// - Throws: What the call throws, or ``LedgerThreadFault``.
    package func call<Value: Sendable>(
        _ body: @escaping @Sendable (Ledger) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation {
            (result: CheckedContinuation<Value, any Error>) in
            let job = Job.call { ledger in
                let outcome = Result { try body(ledger) }
                if case .failure(let error) = outcome { self.note(error) }
                result.resume(with: outcome)
            }
            if let fault = enqueue(job) { result.resume(throwing: fault) }
        }
    }

    /// Looks a token up before its request is read, so that a stranger cannot make work.
    ///
    /// A device that syncs again is not looked up twice: ``sync(token:request:frame:)`` does it, in
    /// the transaction that stores what the device brings, and so a token that was revoked since
    /// lets in nothing but the reading of what is refused then.
    ///
    /// - Throws: ``HubLedger/LedgerError/tokenUnknown``, ``HubLedger/LedgerError/revoked``, or what
    ///   ``call(_:)`` throws.
    package func recognise(token: String) async throws {
        let hash = token.hashValue
        if knownTokens.withLock({ $0.contains(hash) }) { return }
        _ = try await call { try $0.recognise(token: token) }
        knownTokens.withLock { known in
            if known.count >= HubLimits.knownTokensMax { known.removeAll() }
            known.insert(hash)
        }
    }

    /// Has a sync request answered, in one commit with others that wait.
    ///
    /// - Parameters:
    ///   - token: Looked up first, whatever the request is.
    ///   - request: The request, or why it could not be read: known callers are told, others only
    ///     that they are unknown.
    ///   - frame: What brought the request.
    package func sync(
        token: String, request: Result<SyncRequest, any Error>, frame: [UInt8]
    ) async -> SyncReply {
        let reply = await withCheckedContinuation {
            (result: CheckedContinuation<SyncReply, Never>) in
            let job = SyncJob(token: token, request: request, frame: frame) {
                result.resume(returning: $0)
            }
            if let fault = enqueue(.sync(job)) {
                result.resume(returning: SyncReply(device: nil, message: .failure(fault)))
            }
        }
        if reply.device == nil { _ = knownTokens.withLock { $0.remove(token.hashValue) } }
        return reply
    }

    /// Whether what devices bring can be stored, as far as is known: not after the disk failed,
    /// until a trial succeeds. As nobody may send anything meanwhile, this makes the trial itself,
    /// not more often than each ``HubLimits/storeTrialSeconds``.
    ///
    /// - Throws: What ``call(_:)`` throws, but not that the disk fails.
    package func canStore() async throws -> Bool {
        let (hasFailed, mustTry) = diskFailure.withLock { last in
            guard let tried = last else { return (false, false) }
            let mustTry = tried.duration(to: .now) >= .seconds(HubLimits.storeTrialSeconds)
            if mustTry { last = .now }
            return (true, mustTry)
        }
        guard mustTry else { return !hasFailed }
        do {
            try await call { ledger in
                try ledger.tryToStore()
                // On the ledger's thread, so that no failure that comes later is forgotten.
                self.diskFailure.withLock { $0 = nil }
            }
            return true
        } catch LedgerError.disk {
            return false
        }
    }

    private func note(_ error: any Error) {
        if case LedgerError.disk = error { diskFailure.withLock { $0 = $0 ?? .now } }
    }

    /// Finishes what waits, flushes and closes the ledger, and ends the thread; call it once.
    /// New jobs are refused from the start.
    package func stop() async {
        await withCheckedContinuation { ended in
            state.withLock { state in
                precondition(!state.isStopping, "a thread is stopped once")
                state.isStopping = true
                state.stopper = ended
            }
            wakeUp.signal()
        }
    }

    /// How many jobs wait.
    var queuedJobs: Int { state.withLock { $0.jobs.count } }

    private func enqueue(_ job: Job) -> LedgerThreadFault? {
        let (fault, wasEmpty) = state.withLock { state -> (LedgerThreadFault?, Bool) in
            if state.isStopping { return (.stopping, false) }
            if state.jobs.count >= HubLimits.queuedJobsMax { return (.queueFull, false) }
            state.jobs.append(job)
            return (nil, state.jobs.count == 1)
        }
        if wasEmpty { wakeUp.signal() }
        return fault
    }

    private func run(
        _ open: () throws -> Ledger, _ opened: CheckedContinuation<Void, any Error>
    ) {
        let ledger: Ledger
        do {
            ledger = try open()
        } catch {
            opened.resume(throwing: error)
            return
        }
        opened.resume()
        var pace = CommitPace()
        while true {
            wakeUp.wait()
            let (jobs, isStopping) = state.withLock { state in
                defer { state.jobs = [] }
                return (state.jobs, state.isStopping)
            }
            work(off: jobs, on: ledger, &pace)
            if isStopping { break }
        }
        // The times of the last syncs may be lost with the disk; nothing else waits in memory.
        try? ledger.flush()
        // Who copies a stopped ledger copies one file. Whatever stands in the way of that, all is
        // durable already, and the next start goes on with the log.
        try? ledger.foldLog()
    }

    private func work(off jobs: [Job], on ledger: Ledger, _ pace: inout CommitPace) {
        var syncs: [SyncJob] = []
        for job in jobs {
            switch job {
            case .call(let body): body(ledger)
            case .sync(let sync): syncs.append(sync)
            }
        }
        var rest = syncs[...]
        while !rest.isEmpty { answer(&rest, from: ledger, &pace) }
    }

    /// Answers the first of the jobs, and in the same commit such as come meanwhile.
    private func answer(
        _ jobs: inout ArraySlice<SyncJob>, from ledger: Ledger, _ pace: inout CommitPace
    ) {
        var answered: [SyncJob] = []
        pace.begin()
        do {
            let (replies, figures) = try ledger.sync(
                next: { storesSomething in
                    if answered.count < HubLimits.syncsPerCommitMax {
                        if jobs.isEmpty, storesSomething {
                            jobs += moreSyncs(answered.count, pace)
                        }
                        if let job = jobs.popFirst() {
                            answered.append(job)
                            return Ledger.SyncCall(
                                caller: .token(job.token), request: job.request, frame: job.frame)
                        }
                    }
                    pace.commit(storesSomething)
                    return nil
                }, message: { $0.encoded(for: $1) })
            pace.end(with: answered.count + queuedJobs)
            precondition(replies.count == answered.count, "the ledger answers every request")
            onCommit(figures)
            if figures.batches > 0 { diskFailure.withLock { $0 = nil } }
            for (job, reply) in zip(answered, replies) { job.reply(reply) }
        } catch {
            // The ledger's own trouble: it meets all alike.
            note(error)
            for job in answered + jobs {
                job.reply(SyncReply(device: nil, message: .failure(error)))
            }
            jobs = []
        }
    }

    /// Takes the sync requests that wait, or waits for such as are expected.
    private func moreSyncs(_ answered: Int, _ pace: CommitPace) -> [SyncJob] {
        while pace.hasTime {
            let (syncs, isIdle) = takeSyncs()
            guard syncs.isEmpty, isIdle, answered < pace.expected else { return syncs }
            if wakeUp.wait(timeout: .now() + pace.patience) == .timedOut { break }
            // What this was the signal of is perhaps not for here.
            if state.withLock({ !$0.jobs.isEmpty || $0.isStopping }) { wakeUp.signal() }
        }
        return []
    }

    /// Takes the sync requests that wait, up to the first call: a call needs the ledger for itself.
    ///
    /// - Returns: Them, and whether the queue is empty now and may still be filled.
    private func takeSyncs() -> ([SyncJob], isIdle: Bool) {
        state.withLock { state in
            var taken: [SyncJob] = []
            for job in state.jobs {
                guard case .sync(let sync) = job else { break }
                taken.append(sync)
            }
            state.jobs.removeFirst(taken.count)
            return (taken, state.jobs.isEmpty && !state.isStopping)
        }
    }
}

/// How long a commit may wait for more requests to share it.
///
/// Whoever was just answered asks again while the next commit is being prepared. Were that commit
/// made at once, two halves of the devices would take turns for ever, each with a commit of its
/// own. So it waits for as many requests as were there when the last one was made, and takes along
/// what comes meanwhile; but never longer than that saves: with a slow disk all devices share one
/// commit, and with a fast one nobody waits.
private struct CommitPace {
    private var began = ContinuousClock.now
    /// Of a commit that stores something: others take no time.
    private var commitBegan: ContinuousClock.Instant?
    private var lastCommit = Duration.zero
    /// How many requests may come.
    private(set) var expected = 0

    /// Whether more may be taken along.
    var hasTime: Bool {
        began.duration(to: .now)
            < min(
                lastCommit * HubLimits.commitWaitFactor,
                .milliseconds(HubLimits.commitWaitMillisecondsMax))
    }

    /// How long one more may take to come.
    var patience: DispatchTimeInterval {
        let (seconds, attoseconds) = (lastCommit / 2).components
        return .nanoseconds(Int(seconds * 1_000_000_000 + attoseconds / 1_000_000_000))
    }

    mutating func begin() {
        began = .now
        commitBegan = nil
    }

    mutating func commit(_ storesSomething: Bool) { commitBegan = storesSomething ? .now : nil }

    /// - Parameter requests: How many were answered or wait now.
    mutating func end(with requests: Int) {
        guard let commitBegan else { return }
        lastCommit = commitBegan.duration(to: .now)
        expected = requests
    }
}

/// Why a request does not reach the ledger.
package enum LedgerThreadFault: Error, Hashable {
    case queueFull
    case stopping
}

/// Starts a detached thread with a main thread's stack, 8 MiB; Dispatch's have 512 KiB.
func spawnThread(_ body: @escaping @Sendable () -> Void) {
    final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, 8 << 20)
    var thread = pthread_t()
    let status = pthread_create(
        &thread, &attributes,
        { pointer in
            Unmanaged<Body>.fromOpaque(pointer!).takeRetainedValue().run()
            return nil
        }, Unmanaged.passRetained(Body(body)).toOpaque())
    precondition(status == 0, "a thread can be started")
}
