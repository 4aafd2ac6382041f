import HTTPTypes
import HubLedger
import HummingbirdCore
import Logging
import NIOCore
import SyncCore
import WireFormat

/// Answers requests: reads the frame, has the ledger's thread do the work, writes the answer.
///
/// HTTP's statuses speak of the transport alone; what became of each change stands in the frame.
/// Answers have as few header fields as HTTP works with, since over 2G each byte takes time: no
/// Server, and no Date either, as the frame carries the hub's clock.
///
/// - SeeAlso: `protocol/SPEC.md` §6.
struct HubResponder: Sendable {
    let ledger: LedgerThread
    let metrics: HubMetrics
    let logger: Logger
    let budget = MemoryBudget()

    enum Route: String {
        case enroll, sync, history, healthz, readyz, metrics

        init?(path: String) {
            switch path {
            case "/v1/enroll": self = .enroll
            case "/v1/sync": self = .sync
            case "/v1/history": self = .history
            case "/healthz": self = .healthz
            case "/readyz": self = .readyz
            case "/metrics": self = .metrics
            default: return nil
            }
        }

        var methods: [HTTPRequest.Method] {
            switch self {
            case .enroll, .sync, .history: [.post]
            case .healthz, .readyz, .metrics: [.get, .head]
            }
        }
    }

    private struct Reply {
        var status = HTTPResponse.Status.ok
        var fields: HTTPFields = [:]
        var mediaType: String?
        var body: [UInt8]

        static func text(_ text: String, mediaType: String = "text/plain; charset=utf-8") -> Reply {
            Reply(mediaType: mediaType, body: Array(text.utf8))
        }

        /// The frame says itself what it is, so it goes without a media type.
        static func frame(
            _ message: [UInt8], usesDictionary: Bool, borders: ColumnBorders = .none
        ) throws(FrameError) -> Reply {
            Reply(
                mediaType: nil,
                body: try Frame.encode(
                    message, usesDictionary: usesDictionary, borders: borders))
        }

        init(
            status: HTTPResponse.Status = .ok, fields: HTTPFields = [:], mediaType: String?,
            body: [UInt8]
        ) {
            self.status = status
            self.fields = fields
            self.mediaType = mediaType
            self.body = body
        }

        init(_ fault: HubFault) {
            self = .text("\(fault.message)\n\(fault.hint)\n")
            status = fault.status
            fields = fault.fields
        }
    }

    /// Answers one request.
    ///
    /// - Throws: The connection's errors; Hummingbird closes it then.
    func respond(to request: Request, with writer: consuming ResponseWriter) async throws {
        let start = ContinuousClock.now
        let route = Route(path: request.uri.path)
        var intake = RequestIntake(request.body, budget: budget)
        defer { intake.release() }
        var device: Int64?
        var reply: Reply
        do {
            guard let route else { throw HubFault.unknownPath }
            guard route.methods.contains(request.method) else {
                throw HubFault.method(allowed: route.methods)
            }
            switch route {
            case .healthz: reply = .text("alive\n")
            case .readyz: reply = try await readiness()
            case .metrics: reply = try await figures()
            case .enroll, .sync, .history:
                // Whatever can be refused before the body is read.
                let token = route == .enroll ? "" : try bearerToken(of: request)
                let bytesMax = route == .sync ? Limits.frameBytesMax : Limits.enquiryBytesMax
                try checkContent(of: request, bytesMax: bytesMax)
                switch route {
                case .sync: try await ledger.recognise(token: token)
                case .history: device = try await ledger.call { try $0.recognise(token: token).id }
                default: break
                }
                if request.headers.only(.expect)?.lowercased() == "100-continue" {
                    do {
                        try await writer.writeInformationalHead(HTTPResponse(status: .continue))
                    } catch {
                        throw ConnectionFailure(underlying: error)
                    }
                }
                let frame = try await intake.collect(upTo: bytesMax)
                switch route {
                case .enroll: reply = try await enroll(frame, &intake, &device)
                case .sync: reply = try await sync(token, frame, &intake, &device)
                default: reply = try await history(token, frame, &intake)
                }
            }
        } catch let failure as ConnectionFailure {
            throw failure.underlying
        } catch {
            note(error)
            reply = Reply(HubFault(error))
        }
        reply.fields[.contentType] = reply.mediaType
        reply.fields[.contentLength] = String(reply.body.count)
        // What follows the head of this answer is the next one (RFC 9110 §9.3.2).
        if request.method == .head { reply.body = [] }
        try await writer.write(
            response: HTTPResponse(status: reply.status, headerFields: reply.fields),
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: reply.body)))
        let received = intake.bytesReceived
        record(reply, route: route, device: device, bytesReceived: received, start)
        // What is drained was received too, also when there is too much of it.
        defer { metrics.count(drained: intake.bytesReceived - received) }
        try await intake.drain()
    }

    // MARK: The frames

    private func enroll(
        _ frame: [UInt8], _ intake: inout RequestIntake, _ device: inout Int64?
    ) async throws -> Reply {
        let (message, usedDictionary) = try Frame.decode(
            frame, messageBytesMax: Limits.enquiryBytesMax)
        try intake.take(message.count)
        let request = try EnrollRequest(decoding: message)
        let answer = try await ledger.call { try $0.enroll(request) }
        device = answer.assignment.device
        return try .frame(answer.encoded(), usesDictionary: usedDictionary)
    }

    private func sync(
        _ token: String, _ frame: [UInt8], _ intake: inout RequestIntake,
        _ device: inout Int64?
    ) async throws -> Reply {
        var usedDictionary = false
        var decoded: Result<SyncRequest, any Error>
        do {
            let (message, hasDictionary) = try Frame.decode(frame)
            usedDictionary = hasDictionary
            // Before anything is made of it.
            let counted = try SyncRequest.Counted(message)
            try intake.take(message.count + counted.entryCount * HubLimits.requestEntryBytes)
            decoded = .success(try SyncRequest(decoding: counted))
        } catch {
            // A device that was revoked meanwhile hears no more than that, so the token is looked
            // up also for a frame that cannot be read.
            decoded = .failure(error)
        }
        while true {
            let reply = await ledger.sync(token: token, request: decoded, frame: frame)
            device = reply.device
            let message = try reply.message.get()
            do {
                return try .frame(message, usesDictionary: usedDictionary, borders: .answer)
            } catch {
                // A page that hardly compresses: the same batch again, which is admitted only
                // once, with a smaller page.
                guard error == .tooLarge, case .success(var smaller) = decoded,
                    smaller.pageBytes > Limits.pageBytesMin
                else { throw HubFault.failed }
                smaller.pageBytes = max(smaller.pageBytes / 4, Limits.pageBytesMin)
                decoded = .success(smaller)
            }
        }
    }

    private func history(
        _ token: String, _ frame: [UInt8], _ intake: inout RequestIntake
    ) async throws -> Reply {
        let (message, usedDictionary) = try Frame.decode(
            frame, messageBytesMax: Limits.enquiryBytesMax)
        try intake.take(message.count)
        let record = try HistoryCoding.decodeRequest(message)
        // Once more: the body may have taken half an hour.
        let entries = try await ledger.call {
            try $0.history(of: record, for: $0.recognise(token: token).id)
        }
        return try .frame(
            HistoryCoding.encode(entries: entries), usesDictionary: usedDictionary)
    }

    private func checkContent(of request: Request, bytesMax: Int) throws(HubFault) {
        // Media types ignore case, and parameters may follow (RFC 9110 §8.3.1).
        let mediaType = request.headers.only(.contentType)?.utf8.prefix {
            $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ")
        }
        guard mediaType.map({ Substring($0).lowercased() }) == Frame.mediaType else {
            throw .mediaType
        }
        if let length = request.headers.only(.contentLength).flatMap({ Int($0) }),
            length > bytesMax
        {
            throw .tooLarge
        }
    }

    private func bearerToken(of request: Request) throws(HubFault) -> String {
        // Bytes: to tell characters apart costs more than the rest of the head.
        let scheme = "bearer ".utf8
        guard let credentials = request.headers.only(.authorization)?.utf8,
            credentials.count <= scheme.count + HubLimits.tokenBytesMax,
            Substring(credentials.prefix(scheme.count)).lowercased().utf8.elementsEqual(scheme)
        else { throw .unknownToken }
        return String(Substring(credentials.dropFirst(scheme.count)))
    }

    // MARK: The operator's addresses

    private func readiness() async throws -> Reply {
        guard try await ledger.canStore() else { throw HubFault.disk }
        let info = try await ledger.call { try $0.info() }
        return .text("ready, sequence \(info.head)\n")
    }

    private func figures() async throws -> Reply {
        let figures = try await ledger.call { try $0.figures() }
        return .text(metrics.text(ledger: figures), mediaType: HubMetrics.mediaType)
    }

    // MARK: What is kept of it

    /// Tells the operator of trouble that the client hears of only in general terms.
    private func note(_ error: any Error) {
        switch error {
        case let error as LedgerError:
            switch error {
            case .disk, .damaged, .file: logger.error("ledger", metadata: ["error": "\(error)"])
            default: break
            }
        case is HubFault, is FrameError, is LedgerThreadFault:
            break
        default:
            // Not in words: those of an error that we do not know might be a resident's.
            logger.error("failed", metadata: ["error": "\(type(of: error))"])
        }
    }

    private func record(
        _ reply: Reply, route: Route?, device: Int64?, bytesReceived: Int,
        _ start: ContinuousClock.Instant
    ) {
        metrics.count(
            status: reply.status.code, bytesReceived: bytesReceived, bytesSent: reply.body.count)
        let passed = start.duration(to: .now).components
        let milliseconds = passed.seconds * 1000 + passed.attoseconds / 1_000_000_000_000_000
        // Probes come every few seconds and say nothing.
        let isProbe = route?.methods.contains(.get) == true && reply.status == .ok
        // As one text: to gather metadata costs more than all else that is kept of a request.
        logger.log(
            level: isProbe ? .debug : .info,
            """
            \(route?.rawValue ?? "other") device=\(device.map(String.init) ?? "-") \
            status=\(reply.status.code) in=\(bytesReceived) out=\(reply.body.count) \
            ms=\(milliseconds)
            """)
    }
}

extension HTTPFields {
    /// A field's value if it is there once; the subscript would join the values of all, which
    /// costs much, and none of ours may come twice.
    fileprivate func only(_ name: HTTPField.Name) -> String? {
        var found: String?
        for field in self where field.name == name {
            guard found == nil else { return nil }
            found = field.value
        }
        return found
    }
}
