import Foundation
import Glibc
import NeedModel
import SyncCore
import Synchronization
import WireFormat

/// A hub on loopback that speaks HTTP and frames, and otherwise says what a test tells it to.
final class ScriptedHub: Sendable {
    struct Call: Sendable {
        let path: String
        let authorization: String?
        let usedDictionary: Bool
        let message: [UInt8]
        /// From 1.
        let number: Int

        var request: SyncRequest {
            get throws { try SyncRequest(decoding: message) }
        }
    }

    enum Reply: Sendable {
        case message([UInt8])
        case status(
            Int, text: String = "", retryAfter: Int? = nil, mediaType: String = "text/plain")
        /// Status 200, and a body that may be anything.
        case raw([UInt8])
        /// Hangs up without an answer.
        case hangUp
    }

    typealias Script = @Sendable (Call) throws -> Reply

    let port: UInt16
    private let listener: Int32
    private let log = Mutex<[Call]>([])

    var url: String { "http://127.0.0.1:\(port)" }
    var calls: [Call] { log.withLock { $0 } }

    /// Whatever proxy the machine has, loopback is reached without it. Once, before any thread.
    private static let bypassesProxies: Bool = {
        setenv("no_proxy", "127.0.0.1,localhost", 1)
        setenv("NO_PROXY", "127.0.0.1,localhost", 1)
        return true
    }()

    init(_ script: @escaping Script) throws {
        let (socket, port) = try Self.bound()
        guard listen(socket, 16) == 0 else { throw POSIXError(.EIO) }
        listener = socket
        self.port = port
        Thread.detachNewThread { [weak self] in
            while true {
                let connection = accept(socket, nil, nil)
                guard connection >= 0, let hub = self else {
                    close(socket)
                    return
                }
                hub.serve(connection, script)
                close(connection)
            }
        }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    /// An address where nothing listens: its socket is bound, so nobody else can take it, and
    /// stays so until the process ends.
    static func refusingURL() throws -> String { "http://127.0.0.1:\(try bound().port)" }

    private static func bound() throws -> (socket: Int32, port: UInt16) {
        precondition(bypassesProxies)
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) != 0 || getsockname(socket, $0, &size) != 0
            }
        }
        guard socket >= 0, !failed else { throw POSIXError(.EIO) }
        return (socket, UInt16(bigEndian: address.sin_port))
    }

    /// Answers one request after another, until somebody hangs up.
    private func serve(_ socket: Int32, _ script: Script) {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while true {
            while Self.length(of: bytes).map({ bytes.count < $0 }) ?? true {
                let count = recv(socket, &block, block.count, 0)
                guard count > 0 else { return }
                bytes += block[..<count]
            }
            guard let length = Self.length(of: bytes), let call = note(Array(bytes[..<length]))
            else { return }
            bytes.removeFirst(length)
            let reply = (try? script(call)) ?? .status(500, text: "the script failed")
            guard let answer = try? Self.encoded(reply), send(answer, to: socket) else { return }
        }
    }

    private func send(_ bytes: [UInt8], to socket: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        let end = Array("\r\n\r\n".utf8)
        return bytes.indices.dropLast(3).first { bytes[$0..<$0 + 4].elementsEqual(end) }
    }

    private static func header(_ name: String, in bytes: [UInt8]) -> String? {
        guard let end = headEnd(bytes) else { return nil }
        return String(decoding: bytes[..<end], as: UTF8.self).components(separatedBy: "\r\n")
            .first { $0.hasPrefix(name + ": ") }.map { String($0.dropFirst(name.count + 2)) }
    }

    /// Of the first request, head and body; `nil` while the head is not complete.
    private static func length(of bytes: [UInt8]) -> Int? {
        guard let end = headEnd(bytes) else { return nil }
        return end + 4 + (header("Content-Length", in: bytes).flatMap { Int($0) } ?? 0)
    }

    private func note(_ bytes: [UInt8]) -> Call? {
        guard let end = Self.headEnd(bytes),
            let frame = try? Frame.decode(Array(bytes[(end + 4)...]))
        else { return nil }
        let line = String(decoding: bytes[..<end], as: UTF8.self).split(separator: " ")
        return log.withLock { calls in
            let call = Call(
                path: String(line[1]), authorization: Self.header("Authorization", in: bytes),
                usedDictionary: frame.usedDictionary, message: frame.message,
                number: calls.count + 1)
            calls.append(call)
            return call
        }
    }

    private static func encoded(_ reply: Reply) throws -> [UInt8] {
        var status = 200
        var fields = ""
        let body: [UInt8]
        switch reply {
        case .message(let message): body = try Frame.encode(message, usesDictionary: true)
        case .raw(let bytes): body = bytes
        case .status(let number, let text, let retryAfter, let mediaType):
            status = number
            body = Array(text.utf8)
            fields = "Content-Type: \(mediaType)\r\n"
            if let retryAfter { fields += "Retry-After: \(retryAfter)\r\n" }
        case .hangUp: throw POSIXError(.ECONNRESET)
        }
        return Array(
            "HTTP/1.1 \(status) X\r\n\(fields)Content-Length: \(body.count)\r\n\r\n".utf8) + body
    }
}

extension ScriptedHub {
    static let term = ReplicaID(truncating: 0xA0)
    static let assignment = Assignment(
        device: 7, deviceName: "网格员一", role: .worker, territory: "V1", team: "", banner: "B1",
        offsetMinutes: 480, scope: Scope([.reference, .recordedBy(device: 7), .grid("G1")]))

    /// Admits everything and sends it back.
    static func admit(_ request: SyncRequest, sequence: UInt64 = 500) -> SyncAnswer {
        let records = request.groups.map { group in
            PageRecord(
                id: group.record, kind: group.createdKind ?? Kind.need.rawValue,
                createdMilliseconds: group.createdKind == nil ? nil : 1_800_000_000_000,
                places: [.recorder, .grid],
                fields: group.changes.enumerated().map { index, change in
                    PageRecord.Field(
                        field: change.field,
                        versions: [
                            .init(
                                value: .asSent,
                                stamp: Stamp(
                                    milliseconds: 1_800_000_000_000,
                                    dot: Dot(request.replica, group.firstCounter + UInt64(index))),
                                sequence: sequence)
                        ])
                }.sorted { $0.field < $1.field })
        }
        return SyncAnswer(
            attempt: request.attempt, hubMilliseconds: 1_800_000_000_000,
            outcomes: request.groups.last.map { Outcomes(settledCounter: $0.nextCounter) },
            page: Page(cursor: Position(term: term, sequence: sequence), records: records),
            assignment: request.scope == assignment.scope.id ? nil : assignment)
    }

    static func enrolled(_ token: String = "token-1") -> Reply {
        .message(EnrollAnswer(token: token, assignment: assignment).encoded())
    }

    /// A hub that does what a hub should.
    static let honest: Script = { call in
        switch call.path {
        case "/v1/enroll": enrolled()
        default: .message(admit(try call.request).encoded())
        }
    }
}
