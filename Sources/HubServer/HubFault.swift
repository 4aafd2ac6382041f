import HTTPTypes
import HubLedger
import SyncCore
import WireFormat

/// An answer that is not the one asked for: what it means for the transport, in words for people.
///
/// Nothing that a person wrote is ever in it, nor how the server stores things.
struct HubFault: Error, Sendable {
    var status: HTTPResponse.Status
    /// What happened; the first line of the answer.
    var message: String
    /// What to do; the second line.
    var hint: String
    var fields: HTTPFields = [:]

    static let unknownPath = HubFault(
        status: .notFound, message: "there is nothing at this address",
        hint: "see protocol/SPEC.md for the addresses of a Waystation server")

    static let unknownToken = HubFault(
        status: .unauthorized, message: LedgerError.tokenUnknown.description,
        hint: LedgerError.tokenUnknown.hint,
        fields: [.wwwAuthenticate: "Bearer"])

    static let revoked = HubFault(
        status: .forbidden, message: LedgerError.revoked.description,
        hint: LedgerError.revoked.hint)

    static let tooLarge = HubFault(
        status: .contentTooLarge,
        message: "the request is larger than the protocol allows",
        hint: "send less in one request")

    static let mediaType = HubFault(
        status: .unsupportedMediaType, message: "the request is not \(Frame.mediaType)",
        hint: "send a Waystation frame with this Content-Type")

    static let tooSlow = HubFault(
        status: .requestTimeout, message: "the request took too long to arrive",
        hint: "send less in one request")

    static let busy = HubFault(
        status: .serviceUnavailable, message: "the server is busy",
        hint: "try again in \(HubLimits.retryBusySeconds) seconds",
        fields: [.retryAfter: String(HubLimits.retryBusySeconds)])

    static let stopping = HubFault(
        status: .serviceUnavailable, message: "the server is stopping",
        hint: "try again in \(HubLimits.retryBusySeconds) seconds",
        fields: [.retryAfter: String(HubLimits.retryBusySeconds)])

    static let disk = HubFault(
        status: .serviceUnavailable, message: "the server cannot store anything now",
        hint: "the records are safe on the device; try again later",
        fields: [.retryAfter: String(HubLimits.retryDiskSeconds)])

    static let failed = HubFault(
        status: .internalServerError, message: "the server failed",
        hint: "the records are safe on the device; the server's operator finds more in its log")

    static func method(allowed: [HTTPRequest.Method]) -> HubFault {
        let names = allowed.map(\.rawValue)
        return HubFault(
            status: .methodNotAllowed,
            message: "this address takes \(names.joined(separator: " and ")) only",
            hint: "see protocol/SPEC.md", fields: [.allow: names.joined(separator: ", ")])
    }

    init(
        status: HTTPResponse.Status, message: String, hint: String, fields: HTTPFields = [:]
    ) {
        self.status = status
        self.message = message
        self.hint = hint
        self.fields = fields
    }

    init(_ error: FrameError) {
        switch error {
        case .versionNotSpoken:
            self.init(
                status: .upgradeRequired,
                message: "\(error.description); \(Frame.version) to \(Frame.version) are",
                hint: "install the version of Waystation that this server speaks",
                fields: [.upgrade: "waystation/\(Frame.version)", .connection: "Upgrade"])
        case .tooLarge:
            self = .tooLarge
        case .unknownDictionary:
            self.init(
                status: .unsupportedMediaType, message: error.description,
                hint: "send it again without a dictionary")
        case .notAFrame, .damaged, .malformed:
            self.init(
                status: .badRequest, message: error.description,
                hint: "send it again; if that does not help, install a newer version")
        }
    }

    /// Whatever the ledger, its thread or the frame coding throws.
    init(_ error: any Error) {
        switch error {
        case let fault as HubFault: self = fault
        case let error as FrameError: self.init(error)
        case let error as LedgerError: self.init(error)
        case LedgerThreadFault.queueFull: self = .busy
        case LedgerThreadFault.stopping: self = .stopping
        default: self = .failed
        }
    }

    private init(_ error: LedgerError) {
        let status: HTTPResponse.Status
        switch error {
        case .busy:
            self = .busy
            return
        case .disk:
            self = .disk
            return
        case .tokenUnknown:
            self = .unknownToken
            return
        case .revoked:
            self = .revoked
            return
        case .file, .damaged, .row:
            self = .failed
            return
        case .invalid: status = .badRequest
        // Not 403, which means that the device is revoked.
        case .notFound, .codeUnknown, .forbidden: status = .notFound
        case .codeUsed, .codeExpired: status = .gone
        }
        self.init(status: status, message: error.description, hint: error.hint)
    }
}
