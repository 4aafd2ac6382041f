package import DeviceJournal
import Glibc
import NeedModel
package import SyncCore
import WireFormat

/// Runs ``SyncCore/DeviceSession`` over a journal and one hub: the shell around the state machine.
///
/// Blocking; keep it, like the journal, on one thread. All that must survive a crash is in the
/// journal, so a client can be thrown away at any moment.
package final class SyncClient {
    /// Ends the client's work from outside, also from a signal handler.
    package var interrupt: HTTPTransport.Interrupt { transport.interrupt }

    private let journal: Journal
    private let transport: HTTPTransport
    private let clocks: () -> ClockReading
    private let pause: (_ milliseconds: Int, HTTPTransport.Interrupt) -> Void
    private let lockTimeoutMilliseconds: Int
    private let address: HubAccess
    /// Whether the hub is hoped to have the compression dictionary.
    private var usesDictionary = true
    private var random = SystemRandomNumberGenerator()

    private static let backoffMilliseconds = [1_000, 2_000]
    /// A longer `Retry-After` is left to the person.
    private static let retryAfterSecondsMax = 10
    /// A watch asks at least so often, whatever the hub wants.
    private static let watchWaitSecondsMax = 3_600
    private static let lockTimeoutMilliseconds = 10_000
    private static let pauseStepMilliseconds = 50
    /// curl's number for a refused connection: nothing listens there.
    private static let curlRefused = 7

    /// A client for the hub that the journal is enrolled at.
    ///
    /// - Parameters:
    ///   - journal: Used on this client's thread only.
    ///   - pause: Waits, but not beyond a cancel.
    ///   - lockTimeoutMilliseconds: How long to wait for another sync of this journal.
    /// - Throws: ``SyncError/journal(_:)``, also when not enrolled; a bad address.
    package convenience init(
        journal: Journal, clocks: @escaping () -> ClockReading = SystemClocks.now,
        pause: @escaping (Int, HTTPTransport.Interrupt) -> Void = SyncClient.sleep,
        lockTimeoutMilliseconds: Int = SyncClient.lockTimeoutMilliseconds
    ) throws(SyncError) {
        let access: HubAccess
        do {
            access = try journal.hubAccess()
        } catch {
            throw .journal(error)
        }
        try self.init(
            journal: journal, access: access, clocks: clocks, pause: pause,
            lockTimeoutMilliseconds: lockTimeoutMilliseconds)
    }

    /// A client for a hub that the journal is not enrolled at yet.
    ///
    /// - Parameters:
    ///   - url: `https://HOST` or `http://HOST:PORT`.
    ///   - code: As typed; a key in it is pinned, so that no authority is needed.
    ///   - authorityFile: A PEM file of authorities to trust instead of the system's.
    ///   - journal: Opened with `creating: true`.
    package convenience init(
        enrolling url: String, code: InviteCode, authorityFile: String? = nil, journal: Journal,
        clocks: @escaping () -> ClockReading = SystemClocks.now,
        pause: @escaping (Int, HTTPTransport.Interrupt) -> Void = SyncClient.sleep,
        lockTimeoutMilliseconds: Int = SyncClient.lockTimeoutMilliseconds
    ) throws(SyncError) {
        let origin: String
        do {
            origin = try HubAddress(url).origin
        } catch {
            throw SyncError(error)
        }
        try self.init(
            journal: journal,
            access: HubAccess(
                server: origin, token: "", pin: code.pinnedKey,
                authority: authorityFile.map(Self.absolute)),
            clocks: clocks, pause: pause, lockTimeoutMilliseconds: lockTimeoutMilliseconds)
    }

    private init(
        journal: Journal, access: HubAccess, clocks: @escaping () -> ClockReading,
        pause: @escaping (Int, HTTPTransport.Interrupt) -> Void, lockTimeoutMilliseconds: Int
    ) throws(SyncError) {
        self.journal = journal
        self.clocks = clocks
        self.pause = pause
        self.lockTimeoutMilliseconds = lockTimeoutMilliseconds
        address = access
        do {
            transport = try HTTPTransport(
                settings: HTTPTransport.Settings(
                    baseURL: access.server, authorityFile: access.authority,
                    pinnedKey: access.pin))
        } catch {
            throw SyncError(error)
        }
    }

    /// Sleeps in short steps, until a cancel.
    package static func sleep(_ milliseconds: Int, _ interrupt: HTTPTransport.Interrupt) {
        var rest = milliseconds
        while rest > 0, !interrupt.isCancelled {
            let step = min(rest, pauseStepMilliseconds)
            usleep(UInt32(step) * 1_000)
            rest -= step
        }
    }

    /// The journal is used from other directories too.
    private static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}

// MARK: - What people ask for

extension SyncClient {
    /// Sends what waits and pulls what is new, as often as it takes.
    ///
    /// - Parameter progress: Called about every 100 ms while a request runs.
    package func sync(progress: ((SyncProgress) -> Void)? = nil) -> SyncReport {
        withLock { run(progress: progress, continuing: emptyReport()) }
    }

    /// Syncs again and again until interrupted, but not before a hub that is busy wants it.
    ///
    /// - Parameter report: Told of each sync; `false` ends it.
    package func watch(
        intervalSeconds: Int, progress: ((SyncProgress) -> Void)? = nil,
        report: (SyncReport) -> Bool
    ) {
        while !interrupt.isCancelled {
            let made = sync(progress: progress)
            guard report(made) else { return }
            pause(
                max(
                    intervalSeconds,
                    min(made.failure?.retryAfterSeconds ?? 0, Self.watchWaitSecondsMax)) * 1_000,
                interrupt)
        }
    }

    /// Joins with a code, keeping what the journal holds, and completes the first pull.
    ///
    /// - Returns: Of the first pull; when that fails, this device is enrolled all the same.
    /// - Throws: When the enrolment itself failed: nothing was changed.
    package func enroll(
        _ code: InviteCode, progress: ((SyncProgress) -> Void)? = nil
    ) throws(SyncError) -> SyncReport {
        var report = emptyReport()
        let lock = try SyncLock(
            journalPath: journal.path, timeoutMilliseconds: lockTimeoutMilliseconds,
            isCancelled: { interrupt.isCancelled })
        let request = EnrollRequest(code: code.code, replica: try calling { try $0.replica() })
        let message: [UInt8]
        do {
            message = try post(
                path: "/v1/enroll", token: nil, message: request.encoded(), report: &report,
                progress: progress)
        } catch .server(let status, let text) where [400, 404, 409, 410].contains(status) {
            throw .codeRefused(text)
        }
        let answer: EnrollAnswer
        do {
            answer = try EnrollAnswer(decoding: message)
        } catch {
            throw .badAnswer(error.description)
        }
        let known = try calling { try $0.newestNotice() }
        try calling { journal in
            try journal.enroll(
                server: address.server, token: answer.token, pin: address.pin,
                authority: address.authority, answer: answer)
        }
        return withExtendedLifetime(lock) {
            run(progress: progress, continuing: report, noticesAfter: known)
        }
    }

    /// Asks the hub for all admitted changes of a record, oldest first, with their full clocks.
    ///
    /// - Parameter progress: Called about every 100 ms while the request runs.
    package func fetchHistory(
        of record: RecordID, progress: ((SyncProgress) -> Void)? = nil
    ) throws(SyncError) -> [HistoryLine] {
        var report = emptyReport()
        let message = try post(
            path: "/v1/history", token: readToken(),
            message: HistoryCoding.encode(record: record), report: &report, progress: progress)
        let entries: [HistoryEntry]
        do {
            entries = try HistoryCoding.decodeAnswer(message)
        } catch {
            throw .badAnswer(error.description)
        }
        var lines: [HistoryLine] = []
        for entry in entries {
            let isOwn = try calling { journal in
                try journal.isOwn(entry.stamp.dot.replica)
            }
            lines.append(
                HistoryLine(
                    field: NeedField(rawValue: entry.field), fieldNumber: entry.field,
                    value: entry.value,
                    time: ShownTime(
                        milliseconds: entry.stamp.milliseconds,
                        isApproximate: entry.isTimeUncertain),
                    writer: entry.writer.isEmpty ? nil : entry.writer, isOwn: isOwn,
                    dot: entry.stamp.dot, sequence: entry.sequence, clock: entry.clock,
                    isLive: entry.isLive, isWinner: entry.isWinner))
        }
        return lines
    }
}

// MARK: - One sync

extension SyncClient {
    private func emptyReport() -> SyncReport { SyncReport(result: .gaveUp) }

    private func withLock(_ body: () -> SyncReport) -> SyncReport {
        do {
            let lock = try SyncLock(
                journalPath: journal.path, timeoutMilliseconds: lockTimeoutMilliseconds,
                isCancelled: { interrupt.isCancelled })
            return withExtendedLifetime(lock, body)
        } catch {
            var report = emptyReport()
            report.failure = error
            if error == .interrupted { report.result = .interrupted }
            report.waitingGroups = (try? journal.waitingGroups()) ?? 0
            return report
        }
    }

    /// Carries out the session's directives; the lock is held.
    ///
    /// - Parameters:
    ///   - start: With what the enrolment cost.
    ///   - notice: The newest one before the enrolment.
    private func run(
        progress: ((SyncProgress) -> Void)?, continuing start: SyncReport,
        noticesAfter notice: Int64? = nil
    ) -> SyncReport {
        var report = start
        let known = notice ?? (try? journal.newestNotice())
        let began = clocks().elapsedMilliseconds
        var session = DeviceSession()
        var failures = 0
        var directives = session.step(.begin)
        // Bounded by the session: roundTripsPerSyncMax.
        while let directive = directives.first {
            switch directive {
            case .finish(let result):
                report.result = result
                switch result {
                case .complete: report.failure = nil
                case .interrupted: report.failure = .interrupted
                case .gaveUp: report.failure = report.failure ?? .noProgress
                }
                report.waitingGroups = (try? journal.waitingGroups()) ?? 0
                report.notices = known.flatMap { try? journal.notices(after: $0) } ?? []
                report.elapsedMilliseconds = Int(clamping: clocks().elapsedMilliseconds - began)
                return report
            case .exchange(let batchBytesMax, let pageBytesMax):
                let event: DeviceSession.Event
                do throws(SyncError) {
                    event = .absorbed(
                        try exchange(
                            batchBytesMax: batchBytesMax, pageBytesMax: pageBytesMax,
                            report: &report, progress: progress))
                    failures = 0
                    report.failure = nil
                } catch {
                    report.failure = error
                    if error == .interrupted || interrupt.isCancelled {
                        event = .interrupted
                    } else {
                        event = .failed(
                            isTemporary: isTemporary(
                                error, answered: report.roundTrips > start.roundTrips))
                    }
                }
                directives = session.step(event)
                if case .failed = event, case .exchange? = directives.first,
                    let error = report.failure
                {
                    pause(backoff(after: error, failures: failures), interrupt)
                    failures += 1
                    if interrupt.isCancelled { directives = session.step(.interrupted) }
                }
            }
        }
        preconditionFailure("a session ends with a result")
    }

    /// One round trip, its answer durable in the journal.
    private func exchange(
        batchBytesMax: Int, pageBytesMax: Int, report: inout SyncReport,
        progress: ((SyncProgress) -> Void)?
    ) throws(SyncError) -> DeviceSession.Answer {
        let attempt = UInt32.random(in: 1...UInt32.max, using: &random)
        let token = try readToken()
        let request = try calling { journal in
            try journal.makeRequest(
                batchBytesMax: batchBytesMax, pageBytesMax: pageBytesMax, clocks: clocks(),
                attempt: attempt)
        }
        let message = try post(
            path: "/v1/sync", token: token, message: request.encoded(), report: &report,
            progress: progress)
        let received = clocks()
        let absorbed = try calling { journal in
            try journal.absorb(message, for: request, clocks: received)
        }
        report.news.merge(absorbed.news)
        report.settledGroups += absorbed.settledGroups
        report.mendedRecords += absorbed.mendedRecords
        return absorbed.answer
    }

    /// The token as of now, since a device can be enrolled anew at the same hub.
    ///
    /// - Throws: ``SyncError/enrolledElsewhere``: it is not for this client's hub to see, nor is
    ///   what waits.
    private func readToken() throws(SyncError) -> String {
        var access = try calling { try $0.hubAccess() }
        let token = access.token
        access.token = address.token
        guard access == address else { throw .enrolledElsewhere }
        return token
    }

    private func isTemporary(_ error: SyncError, answered: Bool) -> Bool {
        switch error {
        case .journal(let error): error == .busy || error == .staleAnswer
        case .transport(let transport):
            switch transport.code {
            case SyncError.TransportCase.tooLarge: true
            // Nothing listens there: seconds will not change it, and the person waits.
            case SyncError.TransportCase.unreachable:
                answered || transport.curlCode != Self.curlRefused
            default: false
            }
        case .temporary(_, let seconds, _): (seconds ?? 0) <= Self.retryAfterSecondsMax
        case .busy, .interrupted, .unknownToken, .revoked, .codeRefused, .badCode,
            .upgradeNeeded, .server, .badAnswer, .enrolledElsewhere, .noProgress:
            false
        }
    }

    private func backoff(after error: SyncError, failures: Int) -> Int {
        switch error {
        case .temporary(let status, let seconds, _):
            // A request that was too large goes again smaller, at once.
            if status == 413 { return 0 }
            if let seconds { return seconds * 1_000 }
        case .journal: return 0
        case .transport(let transport) where transport.code == SyncError.TransportCase.tooLarge:
            return 0
        default: break
        }
        return Self.backoffMilliseconds[min(failures, Self.backoffMilliseconds.count - 1)]
    }

    private func calling<Result>(
        _ body: (Journal) throws -> Result
    ) throws(SyncError) -> Result {
        do {
            return try body(journal)
        } catch JournalError.badAnswer(let reason) {
            throw .badAnswer(reason)
        } catch let error as JournalError {
            throw .journal(error)
        } catch {
            // Every function of the journal throws a JournalError.
            throw .journal(.ioError(detail: "\(type(of: error))"))
        }
    }
}

// MARK: - One request

extension SyncClient {
    /// Sends a message in a frame and unwraps the answer's.
    ///
    /// - Returns: The message of an answer with status 200.
    private func post(
        path: String, token: String?, message: [UInt8], report: inout SyncReport,
        progress: ((SyncProgress) -> Void)?
    ) throws(SyncError) -> [UInt8] {
        while true {
            let frame: [UInt8]
            do {
                frame = try Frame.encode(
                    message, usesDictionary: usesDictionary, namesDictionary: true,
                    borders: .request)
            } catch {
                // Content that hardly compresses: the session asks for less.
                throw .temporary(status: 413, retryAfterSeconds: nil, SyncError.ServerText([]))
            }
            let before = report
            let response: HTTPTransport.Response
            do {
                response = try transport.post(
                    path: path, contentType: Frame.mediaType, token: token, body: frame,
                    progress: progress.map { progress in
                        { bytesUp, bytesDown in
                            progress(
                                SyncProgress(
                                    roundTrips: before.roundTrips,
                                    bytesUp: before.bytesUp + bytesUp,
                                    bytesDown: before.bytesDown + bytesDown,
                                    settledGroups: before.settledGroups))
                        }
                    })
            } catch {
                throw SyncError(error)
            }
            report.roundTrips += 1
            report.bytesUp += response.bytesSent
            report.bytesDown += response.bytesReceived
            report.connections += response.connectionsOpened
            if response.status == 415, usesDictionary {
                usesDictionary = false
                continue
            }
            guard response.status == 200 else { throw Self.fault(response) }
            do {
                return try Frame.decode(response.body).message
            } catch {
                throw .badAnswer(error.description)
            }
        }
    }

    private static func fault(_ response: HTTPTransport.Response) -> SyncError {
        // The hub says in plain text what is wrong (SPEC §6). A page in its place is of something
        // between: a gateway, or a network that wants a person to sign in first. No such thing can
        // revoke a device.
        let isOfHub = response.contentType?.lowercased().hasPrefix("text/plain") ?? false
        let text = SyncError.ServerText(isOfHub ? response.body : [])
        switch response.status {
        case 408, 413, 429, 502, 503, 504:
            return .temporary(
                status: response.status,
                retryAfterSeconds: isOfHub ? response.retryAfterSeconds : nil, text)
        // No hub redirects, is a proxy, or asks to be signed in to.
        case 300..<400, 407, 511: return .badAnswer("HTTP \(response.status)")
        case _ where !isOfHub: return .badAnswer("HTTP \(response.status)")
        case 401: return .unknownToken(text)
        case 403: return .revoked(text)
        case 426: return .upgradeNeeded(text)
        default: return .server(status: response.status, text)
        }
    }
}
