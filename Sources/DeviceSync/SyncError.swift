package import DeviceJournal

/// Why a sync, an enrolment or a look at the history did not come to its end. What was recorded is
/// safe in the journal in every case.
package enum SyncError: Error, Hashable, Sendable {
    case journal(JournalError)
    /// Another sync of this journal runs, and went on longer than the bounded wait.
    case busy
    case transport(TransportCase)
    case interrupted
    /// The hub does not know the token (401).
    case unknownToken(ServerText)
    /// The hub has revoked this device (403).
    case revoked(ServerText)
    /// The invite code is unknown, used or expired.
    case codeRefused(ServerText)
    /// Not a code at all.
    case badCode(reason: String)
    /// The hub speaks another version (426).
    case upgradeNeeded(ServerText)
    /// The hub asks to come back later.
    case temporary(status: Int, retryAfterSeconds: Int?, ServerText)
    case server(status: Int, ServerText)
    /// No answer of a hub's, whatever its status: a captive portal, or another program.
    case badAnswer(String)
    /// Another program has enrolled the journal at another hub while this one worked.
    case enrolledElsewhere
    /// The hub answers, but nothing moves on.
    case noProgress

    /// A ``TransportError``, which cannot be compared by hash itself.
    package struct TransportCase: Hashable, Sendable {
        /// As ``TransportError/code``.
        package let code: Int
        /// As ``TransportError/Fault/curlCode``; `nil` where libcurl was not at fault.
        package let curlCode: Int?
        package let description: String
        package let hint: String

        init(_ error: TransportError) {
            code = error.code
            switch error {
            case .unreachable(let fault), .tls(let fault): curlCode = fault.curlCode
            case .interrupted, .tooLarge, .badAddress, .libraryMissing: curlCode = nil
            }
            description = error.description
            hint = error.hint
        }

        /// The numbers of ``TransportError/code``.
        package static let unreachable = 1
        package static let tls = 2
        package static let tooLarge = 4
        package static let badAddress = 5
        package static let libraryMissing = 6
    }

    /// What the hub says about a failure, cut and cleaned of control characters.
    package struct ServerText: Hashable, Sendable {
        package let message: String
        /// Empty when the hub gave none.
        package let hint: String

        private static let lineLengthMax = 300

        init(_ body: [UInt8]) {
            let lines = String(decoding: body.prefix(4_096), as: UTF8.self)
                .split(separator: "\n", maxSplits: 2, omittingEmptySubsequences: false)
                .map { Self.cleaned($0) }
            message = lines.first ?? ""
            hint = lines.count > 1 ? lines[1] : ""
        }

        private static func cleaned(_ line: Substring) -> String {
            String(
                String.UnicodeScalarView(
                    line.unicodeScalars.filter {
                        $0.value >= 0x20 && !(0x7F...0x9F ~= $0.value)
                    }.prefix(lineLengthMax)))
        }
    }

    /// What a program's exit code can tell apart.
    package enum Category: Hashable, Sendable {
        /// 1
        case failed
        /// 64
        case usage
        /// 69
        case unreachable
        /// 74
        case disk
        /// 75
        case tryLater
        /// 77
        case notEnrolled
        /// 130
        case interrupted
    }

    package var category: Category {
        switch self {
        case .journal(let error):
            switch error.category {
            case .failed: .failed
            case .usage: .usage
            case .disk: .disk
            case .tryLater: .tryLater
            case .notEnrolled: .notEnrolled
            }
        case .busy, .temporary, .enrolledElsewhere: .tryLater
        case .transport(let transport):
            transport.code == TransportCase.badAddress ? .usage : .unreachable
        case .interrupted: .interrupted
        case .unknownToken, .revoked, .codeRefused: .notEnrolled
        case .badCode: .usage
        case .badAnswer: .unreachable
        case .upgradeNeeded, .server, .noProgress: .failed
        }
    }

    /// How long a busy hub wants to be left alone.
    package var retryAfterSeconds: Int? {
        guard case .temporary(_, let seconds, _) = self else { return nil }
        return seconds
    }

    /// Whether the journal's file could not be read or written rightly, so that nothing can be
    /// said of what is in it. A full disk keeps what it has.
    package var isOfJournalFile: Bool {
        guard case .journal(let error) = self else { return false }
        return switch error {
        case .cannotOpen, .ioError, .damaged, .foreign: true
        default: false
        }
    }

    init(_ error: TransportError) {
        self = error == .interrupted ? .interrupted : .transport(TransportCase(error))
    }
}

extension SyncError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .journal(let error): error.description
        case .busy: "another sync of this journal is running"
        case .transport(let transport): transport.description
        case .interrupted: "interrupted"
        case .unknownToken(let text): text.or("the server does not know this device")
        case .revoked(let text): text.or("the server has revoked this device")
        case .codeRefused(let text): text.or("the server does not take this invite code")
        case .badCode(let reason): "this is no invite code: \(reason)"
        case .upgradeNeeded(let text):
            text.or("the server speaks another version of the protocol")
        case .temporary(let status, _, let text): text.or("the server is busy (\(status))")
        case .server(let status, let text): text.or("the server failed (\(status))")
        case .badAnswer(let reason): "the server's answer cannot be used: \(reason)"
        case .enrolledElsewhere: "this device was enrolled at another server meanwhile"
        case .noProgress: "the server answers, but nothing moves on"
        }
    }

    /// What the person can do next.
    package var hint: String {
        switch self {
        case .journal(let error): error.hint
        case .busy: "Wait for it to end, then try again."
        case .transport(let transport): transport.hint
        case .interrupted: "Nothing is lost. Sync again when you like."
        case .unknownToken(let text), .revoked(let text):
            text.hintOr("Ask the operator for a new invite code; what waits here is kept.")
        case .codeRefused(let text):
            text.hintOr("Ask the operator for a new invite code.")
        case .badCode: "Type it as the operator gave it, letters, digits and hyphens."
        case .upgradeNeeded(let text): text.hintOr("Install the version that the server speaks.")
        case .temporary(_, let seconds, let text):
            text.hintOr(
                seconds.map { "Sync again in \($0) seconds." } ?? "Sync again in a while.")
        case .server(_, let text): text.hintOr("Tell the server's operator.")
        case .badAnswer:
            "Check the server's address, or whether this network wants you to sign in first."
        case .enrolledElsewhere: "Sync again; nothing was sent to the former server."
        case .noProgress: "Tell the server's operator; what waits here is safe."
        }
    }
}

extension SyncError.ServerText {
    fileprivate func or(_ other: String) -> String { message.isEmpty ? other : message }

    fileprivate func hintOr(_ other: String) -> String { hint.isEmpty ? other : hint }
}
