/// Why a request got no answer. An HTTP status, also 4xx and 5xx, is an answer and no error.
///
/// No case holds the token, the request or the answer; a text from libcurl that could quote a
/// password out of a proxy's address is replaced by libcurl's general one.
package enum TransportError: Error, Equatable, Sendable {
    /// Name not found, nothing listening, time over, connection broken, or no HTTP in the answer.
    /// Trying again later is right.
    case unreachable(Fault)
    /// The server could not be shown to be the hub. Trying again seldom helps.
    case tls(Fault)
    /// ``HTTPTransport/Interrupt/cancel()`` was called.
    case interrupted
    /// The body of the answer is longer than `bytesMaximum`, or its headers than 64 KiB.
    case tooLarge(bytesMaximum: Int)
    /// The address, the pin or the token cannot be used at all; nothing was sent.
    case badAddress(reason: String)
    /// libcurl, which is loaded when it is first needed, is not installed or cannot be loaded.
    case libraryMissing(detail: String)

    /// What libcurl reported.
    package struct Fault: Equatable, Sendable {
        /// The number of libcurl-errors(3), as the curl program exits with it.
        package let curlCode: Int
        /// One line of English without a full stop.
        package let message: String

        package init(curlCode: Int, message: String) {
            self.curlCode = curlCode
            self.message = message
        }
    }

    /// Sorts a failure of libcurl into ``badAddress(reason:)``, ``tls(_:)`` or
    /// ``unreachable(_:)``.
    init(_ fault: Fault) {
        if fault.curlCode == Self.curlMalformed {
            self = .badAddress(reason: fault.message)
        } else {
            self = Self.curlCodesOfTLS.contains(fault.curlCode) ? .tls(fault) : .unreachable(fault)
        }
    }

    /// libcurl-errors(3): a name that has no ASCII form.
    private static let curlMalformed = 3

    /// libcurl-errors(3): handshake, engine, certificates, authority file, revocation, issuer, pin,
    /// stapled status, client certificate.
    private static let curlCodesOfTLS = [
        35, 51, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98,
    ]
}

extension TransportError {
    /// A number for each case that never changes meaning, for `--json` and logs: 1 unreachable,
    /// 2 TLS, 3 interrupted, 4 too large, 5 bad address, 6 no libcurl.
    package var code: Int {
        switch self {
        case .unreachable: 1
        case .tls: 2
        case .interrupted: 3
        case .tooLarge: 4
        case .badAddress: 5
        case .libraryMissing: 6
        }
    }

    /// What the person can do next, in one or two sentences.
    package var hint: String {
        switch self {
        case .unreachable(let fault): Self.hintWhenUnreachable(curlCode: fault.curlCode)
        case .tls(let fault): Self.hintWithTLS(curlCode: fault.curlCode)
        case .interrupted: "Nothing is lost. Sync again when you like."
        case .tooLarge:
            "Check that the address is the server's: its answers are never this large."
        case .badAddress:
            "Write the address as https://HOST or http://HOST:PORT, or enrol again with a new "
                + "invite code."
        case .libraryMissing:
            "Install libcurl, on Debian with: apt install libcurl4. What you recorded is safe on "
                + "this device."
        }
    }

    private static func hintWhenUnreachable(curlCode: Int) -> String {
        switch curlCode {
        case 1, 8:
            "Something else than the server answered. Check the address, or whether this network "
                + "wants you to sign in first."
        case 5, 97: "Check the proxy in http_proxy, https_proxy or all_proxy."
        case 6: "Check the signal, then the spelling of the server's address."
        case 7: "Check the signal, then whether the server runs at this address and port."
        default: "What you recorded is safe on this device. Sync again when the signal is better."
        }
    }

    private static func hintWithTLS(curlCode: Int) -> String {
        switch curlCode {
        case 60:
            "If this device's clock is wrong, set it: certificates are judged by date. If the "
                + "server made its own certificate, enrol with an invite code, which carries the "
                + "server's key as a pin and needs no clock, or name its authority file."
        case 77: "Check that the authority file exists, can be read and holds PEM certificates."
        case 90:
            "The server has another key than the one in the invite code. Ask the operator "
                + "whether the server's key was replaced; if not, this network is not to be trusted."
        case 35:
            "Try again. If it stays so, check that this port of the server speaks https."
        default: "Ask the operator to check the server's certificate."
        }
    }
}

extension TransportError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let fault):
            "The server cannot be reached: \(fault.message) (curl \(fault.curlCode))."
        case .tls(let fault):
            "No secure connection to the server: \(fault.message) (curl \(fault.curlCode))."
        case .interrupted: "The request was interrupted."
        case .tooLarge(let bytesMaximum):
            "The answer is larger than \(bytesMaximum) bytes or its headers larger than "
                + "\(HTTPTransport.headerBytesMaximum)."
        case .badAddress(let reason): "The server's address cannot be used: \(reason)."
        case .libraryMissing(let detail): "libcurl cannot be loaded: \(detail)."
        }
    }
}
