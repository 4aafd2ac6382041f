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
/// together and share one commit, since a disk may do only some hundred commits a second.
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

    /// What became of one sync request. `device` is known once the token was recognised.
    package struct SyncReply: Sendable {
        package var device: Int64?
        /// The message that goes into the answer's frame.
        package var answer: Result<[UInt8], any Error>
    }

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
            let job = Job.call { ledger in result.resume(with: Result { try body(ledger) }) }
            if let fault = enqueue(job) { result.resume(throwing: fault) }
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
        await withCheckedContinuation { (result: CheckedContinuation<SyncReply, Never>) in
            let job = SyncJob(token: token, request: request, frame: frame) {
                result.resume(returning: $0)
            }
            if let fault = enqueue(.sync(job)) {
                result.resume(returning: SyncReply(device: nil, answer: .failure(fault)))
            }
        }
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

    /// Recognises a device by its token, on the thread.
    static func device(withToken token: String, in ledger: Ledger) throws -> Device {
        try recognised(ledger.devices(withTokens: [token])[0])
    }

    private static func recognised(_ device: Device?) throws -> Device {
        guard let device else { throw LedgerThreadFault.unknownToken }
        guard !device.isRevoked else { throw LedgerError.revoked }
        return device
    }

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
        while true {
            wakeUp.wait()
            let (jobs, isStopping) = state.withLock { state in
                defer { state.jobs = [] }
                return (state.jobs, state.isStopping)
            }
            work(off: jobs, on: ledger)
            if isStopping { break }
        }
        // The times of the last syncs may be lost with the disk; nothing else waits in memory.
        try? ledger.flush()
    }

    private func work(off jobs: [Job], on ledger: Ledger) {
        var syncs: [SyncJob] = []
        for job in jobs {
            switch job {
            case .call(let body): body(ledger)
            case .sync(let sync): syncs.append(sync)
            }
        }
        var rest = syncs[...]
        while !rest.isEmpty {
            answer(rest.prefix(HubLimits.syncsPerCommitMax), from: ledger)
            rest = rest.dropFirst(HubLimits.syncsPerCommitMax)
        }
    }

    private func answer(_ jobs: some Sequence<SyncJob>, from ledger: Ledger) {
        var admitted: [(job: SyncJob, device: Int64, request: SyncRequest)] = []
        let known = Result { try ledger.devices(withTokens: jobs.map(\.token)) }
        for (index, job) in jobs.enumerated() {
            var device: Int64?
            do {
                let id = try Self.recognised(known.get()[index]).id
                device = id
                admitted.append((job, id, try job.request.get()))
            } catch {
                job.reply(SyncReply(device: device, answer: .failure(error)))
            }
        }
        guard !admitted.isEmpty else { return }
        do {
            let (answers, figures) = try ledger.sync(
                admitted.map {
                    (device: $0.device, request: $0.request, frame: $0.job.frame)
                }, reply: { $0.encoded(for: $1) })
            precondition(answers.count == admitted.count, "the ledger answers every request")
            onCommit(figures)
            for (entry, answer) in zip(admitted, answers) {
                entry.job.reply(SyncReply(device: entry.device, answer: answer))
            }
        } catch {
            for entry in admitted {
                entry.job.reply(SyncReply(device: entry.device, answer: .failure(error)))
            }
        }
    }
}

/// Why a request does not reach the ledger.
package enum LedgerThreadFault: Error, Hashable {
    case queueFull
    case stopping
    case unknownToken
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
