import CCurl
import Glibc
import Synchronization

/// Sends requests to one hub over HTTP/1.1, one at a time, blocking, through libcurl.
///
/// One easy handle is reused, so that requests share a connection: on 2G a TCP and TLS handshake
/// costs seconds. It runs inside a multi handle, since only ``Interrupt`` through
/// `curl_multi_wakeup` ends a transfer at once; libcurl's own progress callback can take a second.
///
/// Header bytes count too: a request carries `Host`, `Content-Type`, `Content-Length` and, with a
/// token, `Authorization`, and nothing else. Redirects are not followed, since one could carry the
/// token elsewhere. Proxies in `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` are
/// honoured.
///
/// Not Sendable: keep it on one thread, off Swift's cooperative pool.
package final class HTTPTransport {
    /// How to reach the hub and how long to wait for it.
    package struct Settings: Sendable {
        /// `http://host:port` or `https://host:port`; one slash at the end is tolerated.
        package var baseURL: String
        /// A PEM file whose authorities are trusted instead of the system's. When `nil`, the
        /// environment decides as it does for the curl program: CURL_CA_BUNDLE, else SSL_CERT_DIR
        /// and SSL_CERT_FILE, else the system.
        package var authorityFile: String?
        /// SHA-256 of the hub's public key (its DER SubjectPublicKeyInfo, RFC 7469), 32 bytes.
        ///
        /// It replaces the check of name, authority and dates: it is stronger, and a device whose
        /// clock stands at 1970 or 2038 can still sync. Needs https.
        package var pinnedKey: [UInt8]?
        /// Bound on resolving, connecting and the TLS handshake together.
        package var connectTimeoutMilliseconds = 30_000
        /// Gives up after so long below one byte a second in both directions, waiting included.
        package var stallTimeoutSeconds = 60
        /// Bound on one request with everything in it.
        package var requestTimeoutMilliseconds = 600_000
        /// Bound on the body of an answer.
        package var bytesMaximum = 1 << 20

        package init(baseURL: String, authorityFile: String? = nil, pinnedKey: [UInt8]? = nil) {
            self.baseURL = baseURL
            self.authorityFile = authorityFile
            self.pinnedKey = pinnedKey
        }
    }

    /// One answer of the hub, whatever its status.
    package struct Response: Sendable {
        /// The HTTP status, 200 to 599; redirects come as they are.
        package let status: Int
        /// At most `bytesMaximum` bytes.
        package let body: [UInt8]
        /// The media type with its parameters, as sent.
        package let contentType: String?
        /// `Retry-After`, cut to a day: a date in it is read against a clock that may be wrong.
        /// `nil` when absent, zero or past.
        package let retryAfterSeconds: Int?
        /// Lines, headers and body of the request, over all tries of a connection that had died;
        /// without TLS and TCP.
        package let bytesSent: Int
        /// The same of the answer, as it was on the wire.
        package let bytesReceived: Int
        /// 0 when the connection of the request before was used again.
        package let connectionsOpened: Int
        /// From the call of ``HTTPTransport/post(path:contentType:token:body:progress:)`` to the
        /// last byte.
        package let elapsedMilliseconds: Int
    }

    /// Ends the transport's work from outside.
    ///
    /// It owns the multi handle, so a signal that comes late finds no freed memory. An idle
    /// connection therefore stays open until the transport and its last `Interrupt` are gone.
    package final class Interrupt: Sendable {
        /// Of its calls only `curl_multi_wakeup` may come from another thread.
        nonisolated(unsafe) fileprivate let multi: UnsafeMutableRawPointer
        private let wakeup: waystation_curl_wakeup
        private let cancelled = Atomic<Bool>(false)

        fileprivate init() {
            wakeup = waystation_curl_find_wakeup()
            guard let multi = waystation_curl_multi_init() else {
                fatalError("libcurl is out of memory")
            }
            self.multi = multi
            _ = waystation_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, 1)
        }

        deinit { _ = waystation_curl_multi_cleanup(multi) }

        /// Makes the running request, and each one after it, fail with
        /// ``TransportError/interrupted``.
        ///
        /// May be called from any thread and from a signal handler, any number of times: it stores
        /// one atomic flag and writes to one pipe. For good: a new start needs a new transport.
        package func cancel() {
            let saved = errno  // A signal handler must leave it as it was.
            cancelled.store(true, ordering: .sequentiallyConsistent)
            _ = wakeup(multi)
            errno = saved
        }

        /// Whether ``cancel()`` was called.
        package var isCancelled: Bool { cancelled.load(ordering: .sequentiallyConsistent) }
    }

    /// Bytes of the two bodies that have passed so far in this request.
    package typealias Progress = (_ bytesUp: Int, _ bytesDown: Int) -> Void

    /// Hub answers have a few hundred bytes of headers; libcurl itself would take any number.
    static let headerBytesMaximum = 65_536
    /// A person sees no more than ten changes a second.
    private static let progressIntervalMilliseconds = 100
    /// `Retry-After` beyond a day is an error or a wrong clock.
    private static let retryAfterSecondsMaximum = 86_400
    /// A static initialiser runs once, also when two threads come at the same time.
    private static let started: Result<CURLcode, TransportError> = {
        guard waystation_curl_library() != nil else {
            let detail = dlerror().map { String(cString: $0) } ?? "no reason given"
            return .failure(.libraryMissing(detail: detail))
        }
        return .success(waystation_curl_start())
    }()

    /// Cancels this transport; may outlive it.
    package let interrupt: Interrupt
    private let easy: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>
    private let answer: Answer
    private let address: HubAddress

    /// Checks the settings and sets up libcurl; opens no connection.
    ///
    /// - Throws: ``TransportError/badAddress(reason:)`` for an address, or a pin, that cannot be
    ///   used; ``TransportError/libraryMissing(detail:)`` without libcurl; ``TransportError/tls(_:)``
    ///   or ``TransportError/unreachable(_:)`` when this libcurl lacks something.
    package init(settings: Settings) throws(TransportError) {
        let address = try HubAddress(settings.baseURL)
        if let pin = settings.pinnedKey {
            guard pin.count == 32 else {
                throw .badAddress(reason: "its pin has \(pin.count) bytes instead of 32")
            }
            guard address.isEncrypted else {
                throw .badAddress(reason: "a pinned key needs https")
            }
        }
        if !address.origin.utf8.allSatisfy({ $0 < 0x80 }) {
            // libcurl makes a name's ASCII form out of the locale's text, and ours is UTF-8
            // whatever the locale is.
            _ = setlocale(LC_CTYPE, "C.UTF-8")
        }
        guard try Self.started.get() == CURLE_OK, let easy = waystation_curl_easy_init() else {
            throw .unreachable(.init(curlCode: 2, message: "libcurl could not start"))
        }
        self.easy = easy
        self.address = address
        interrupt = Interrupt()
        answer = Answer(bytesMaximum: settings.bytesMaximum)
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        try configure(settings)
    }

    deinit {
        waystation_curl_easy_cleanup(easy)
        errorText.deallocate()
    }

    /// Sends one POST and waits for its answer.
    ///
    /// - Parameters:
    ///   - path: An absolute path of visible ASCII, as `/v1/sync`.
    ///   - contentType: The media type of the body, visible ASCII and spaces.
    ///   - token: What follows `Authorization: Bearer`; `nil` leaves the header out.
    ///   - body: Sent as it is, without a copy of the whole.
    ///   - progress: Called on this thread about every 100 ms while the request runs, so never in
    ///     a quick one, and not at its end.
    /// - Throws: ``TransportError``. The hub may have acted on the request all the same, unless it
    ///   is ``TransportError/badAddress(reason:)``.
    package func post(
        path: String, contentType: String, token: String?, body: [UInt8],
        progress: Progress? = nil
    ) throws(TransportError) -> Response {
        precondition(
            path.first == "/" && path.utf8.allSatisfy { 0x21...0x7E ~= $0 },
            "a path is visible ASCII")
        precondition(
            contentType.utf8.allSatisfy { 0x20...0x7E ~= $0 }, "a media type is one line of ASCII")
        // A token comes from a file that may be damaged; a line break in it would forge headers.
        guard token?.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) ?? true else {
            throw .badAddress(reason: "the token that goes with it holds forbidden characters")
        }
        guard !interrupt.isCancelled else { throw .interrupted }

        var headers: UnsafeMutablePointer<curl_slist>?
        defer { waystation_curl_slist_free_all(headers) }
        // An empty value makes libcurl leave out a header it would add.
        headers = waystation_curl_slist_append(headers, "Accept:")
        headers = waystation_curl_slist_append(headers, "Expect:")
        headers = waystation_curl_slist_append(headers, "Content-Type: \(contentType)")
        if let token {
            headers = waystation_curl_slist_append(headers, "Authorization: Bearer \(token)")
        }

        answer.clear()
        errorText[0] = 0
        try set(CURLOPT_URL, address.origin + path)
        try set(CURLOPT_HTTPHEADER, pointer: UnsafeRawPointer(headers))
        defer {
            // Both die with this call; the handle does not.
            _ = waystation_curl_set_pointer(easy, CURLOPT_HTTPHEADER, nil)
            _ = waystation_curl_set_pointer(easy, CURLOPT_POSTFIELDS, nil)
        }
        try accept(
            waystation_curl_set_offset(
                easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count)))
        // libcurl reads standard input for a body at NULL, and an empty array may have no address.
        try (body.isEmpty ? [0] : body).withUnsafeBufferPointer { bytes throws(TransportError) in
            try set(CURLOPT_POSTFIELDS, pointer: UnsafeRawPointer(bytes.baseAddress))
            try run(progress: progress)
        }
        let response = response()
        // libcurl takes an answer that breaks off inside its headers for one with an empty body.
        guard answer.hasAllHeaders, response.status >= 200 else {
            throw .unreachable(.init(curlCode: 56, message: "The answer broke off in its headers"))
        }
        return response
    }
}

// MARK: - Setting up

extension HTTPTransport {
    private func configure(_ settings: Settings) throws(TransportError) {
        try set(CURLOPT_ERRORBUFFER, pointer: UnsafeRawPointer(errorText))
        try set(CURLOPT_PROTOCOLS_STR, "http,https")
        try set(CURLOPT_FOLLOWLOCATION, 0)
        try set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        try set(CURLOPT_POST, 1)
        // No alarm signals: the program has threads.
        try set(CURLOPT_NOSIGNAL, 1)
        // Without it an ended transfer waits for its name lookup, which nothing can interrupt. The
        // thread of the lookup cleans up after itself.
        try set(CURLOPT_QUICK_EXIT, 1)
        try set(CURLOPT_TCP_NODELAY, 1)
        try set(CURLOPT_TCP_KEEPALIVE, 1)
        try set(CURLOPT_CONNECTTIMEOUT_MS, settings.connectTimeoutMilliseconds)
        try set(CURLOPT_TIMEOUT_MS, settings.requestTimeoutMilliseconds)
        try set(CURLOPT_LOW_SPEED_LIMIT, 1)
        try set(CURLOPT_LOW_SPEED_TIME, settings.stallTimeoutSeconds)
        // Refuses by Content-Length, before the bytes have crossed a slow link.
        try accept(
            waystation_curl_set_offset(
                easy, CURLOPT_MAXFILESIZE_LARGE, curl_off_t(settings.bytesMaximum)))
        try configureTrust(settings)
        try configureCallbacks()
    }

    private func configureTrust(_ settings: Settings) throws(TransportError) {
        if let pin = settings.pinnedKey {
            try set(CURLOPT_PINNEDPUBLICKEY, "sha256//" + base64(pin))
            try set(CURLOPT_SSL_VERIFYPEER, 0)
            try set(CURLOPT_SSL_VERIFYHOST, 0)
            // Reading the system's authorities would take time and memory for nothing.
            try set(CURLOPT_CAINFO, nil)
            try set(CURLOPT_CAPATH, nil)
            return
        }
        try set(CURLOPT_SSL_VERIFYPEER, 1)
        try set(CURLOPT_SSL_VERIFYHOST, 2)
        if let file = settings.authorityFile {
            try set(CURLOPT_CAINFO, file)
            // Debian's libcurl also reads a directory, which would let every public authority in.
            try set(CURLOPT_CAPATH, nil)
        } else if let file = environment("CURL_CA_BUNDLE") {
            try set(CURLOPT_CAINFO, file)
        } else {
            if let directory = environment("SSL_CERT_DIR") { try set(CURLOPT_CAPATH, directory) }
            if let file = environment("SSL_CERT_FILE") { try set(CURLOPT_CAINFO, file) }
        }
    }

    private func configureCallbacks() throws(TransportError) {
        let context = UnsafeRawPointer(Unmanaged.passUnretained(answer).toOpaque())
        try set(CURLOPT_WRITEDATA, pointer: context)
        try set(CURLOPT_HEADERDATA, pointer: context)
        try set(CURLOPT_DEBUGDATA, pointer: context)
        try accept(
            waystation_curl_set_receiver(easy, CURLOPT_WRITEFUNCTION) { bytes, _, count, context in
                guard let answer = Answer.at(context), let bytes else { return 0 }
                return answer.takeBody(UnsafeRawBufferPointer(start: bytes, count: count))
            })
        try accept(
            waystation_curl_set_receiver(easy, CURLOPT_HEADERFUNCTION) { bytes, _, count, context in
                guard let answer = Answer.at(context), let bytes else { return 0 }
                return answer.takeHeader(UnsafeRawBufferPointer(start: bytes, count: count))
            })
        // CURLINFO_REQUEST_SIZE counts a small body together with the headers and a large one not
        // at all, so neither it nor its sum with the upload is what was sent. The trace is exact.
        try accept(
            waystation_curl_set_tracer(easy) { _, kind, _, count, context in
                Answer.at(context)?.trace(kind, byteCount: count)
                return 0
            })
        try set(CURLOPT_VERBOSE, 1)
    }

    private func set(_ option: CURLoption, _ value: Int) throws(TransportError) {
        try accept(waystation_curl_set_long(easy, option, value))
    }

    private func set(_ option: CURLoption, _ value: String?) throws(TransportError) {
        try accept(waystation_curl_set_string(easy, option, value))
    }

    private func set(
        _ option: CURLoption, pointer: UnsafeRawPointer?
    ) throws(TransportError) {
        try accept(waystation_curl_set_pointer(easy, option, pointer))
    }

    /// An option fails only when this libcurl was built without it, or memory ran out.
    private func accept(_ code: CURLcode) throws(TransportError) {
        guard code == CURLE_OK else { throw TransportError(fault(code)) }
    }
}

// MARK: - Running

extension HTTPTransport {
    /// Runs the prepared request to its end, an error or a cancel.
    private func run(progress: Progress?) throws(TransportError) {
        let added = waystation_curl_multi_add_handle(interrupt.multi, easy)
        guard added == CURLM_OK else { throw failure(of: added) }
        // Removing a transfer that has not ended closes its connection.
        defer { _ = waystation_curl_multi_remove_handle(interrupt.multi, easy) }

        var reported = monotonicMilliseconds()
        while true {
            var running: Int32 = 0
            let performed = waystation_curl_multi_perform(interrupt.multi, &running)
            guard performed == CURLM_OK else { throw failure(of: performed) }
            if let result = finished() {
                guard result != CURLE_OK else { return }
                if answer.isTooLarge || result == CURLE_FILESIZE_EXCEEDED {
                    throw .tooLarge(bytesMaximum: answer.bytesMaximum)
                }
                throw TransportError(fault(result))
            }
            // Checked before the wait: a cancel after this line leaves a byte in the pipe, and the
            // wait returns at once.
            guard !interrupt.isCancelled else { throw .interrupted }
            if let progress, monotonicMilliseconds() - reported >= Self.progressIntervalMilliseconds
            {
                reported = monotonicMilliseconds()
                progress(offset(CURLINFO_SIZE_UPLOAD_T), offset(CURLINFO_SIZE_DOWNLOAD_T))
            }
            // libcurl shortens the wait for its own timers.
            let wait = progress == nil ? 1_000 : Self.progressIntervalMilliseconds
            let polled = waystation_curl_multi_poll(interrupt.multi, Int32(wait))
            guard polled == CURLM_OK else { throw failure(of: polled) }
        }
    }

    /// Returns how the transfer ended, `nil` while it runs.
    private func finished() -> CURLcode? {
        var left: Int32 = 0
        while let message = waystation_curl_multi_info_read(interrupt.multi, &left) {
            if message.pointee.msg == CURLMSG_DONE { return message.pointee.data.result }
        }
        return nil
    }

    private func response() -> Response {
        var type: UnsafePointer<CChar>?
        _ = waystation_curl_get_string(easy, CURLINFO_CONTENT_TYPE, &type)
        let retryAfter = min(offset(CURLINFO_RETRY_AFTER), Self.retryAfterSecondsMaximum)
        return Response(
            status: long(CURLINFO_RESPONSE_CODE), body: answer.body,
            contentType: type.map { String(cString: $0) },
            retryAfterSeconds: retryAfter > 0 ? retryAfter : nil,
            bytesSent: answer.bytesSent, bytesReceived: answer.bytesReceived,
            connectionsOpened: long(CURLINFO_NUM_CONNECTS),
            elapsedMilliseconds: offset(CURLINFO_TOTAL_TIME_T) / 1_000)
    }

    private func long(_ info: CURLINFO) -> Int {
        var value = 0
        _ = waystation_curl_get_long(easy, info, &value)
        return value
    }

    private func offset(_ info: CURLINFO) -> Int {
        var value: curl_off_t = 0
        _ = waystation_curl_get_offset(easy, info, &value)
        return Int(value)
    }

    /// Takes libcurl's text about this transfer, or its general one where that could quote the
    /// password in a proxy's address.
    private func fault(_ code: CURLcode) -> TransportError.Fault {
        let specific = String(cString: errorText)
        let message =
            specific.isEmpty || specific.contains("@")
            ? String(cString: waystation_curl_easy_strerror(code)) : specific
        return .init(curlCode: Int(code.rawValue), message: message)
    }

    /// The multi interface fails only without memory or file descriptors.
    private func failure(of code: CURLMcode) -> TransportError {
        .unreachable(
            .init(curlCode: 2, message: String(cString: waystation_curl_multi_strerror(code))))
    }
}

// MARK: - What libcurl calls back

/// What has come so far; the context of libcurl's callbacks, which run inside
/// `curl_multi_perform` on the transport's thread.
private final class Answer {
    let bytesMaximum: Int
    private(set) var body: [UInt8] = []
    private(set) var bytesSent = 0
    private(set) var bytesReceived = 0
    /// Whether the body or the headers went beyond their bound.
    private(set) var isTooLarge = false
    /// Whether the empty line after the headers has come.
    private(set) var hasAllHeaders = false
    private var headerBytes = 0

    init(bytesMaximum: Int) { self.bytesMaximum = bytesMaximum }

    static func at(_ context: UnsafeMutableRawPointer?) -> Answer? {
        context.map { Unmanaged<Answer>.fromOpaque($0).takeUnretainedValue() }
    }

    func clear() {
        body = []
        bytesSent = 0
        bytesReceived = 0
        isTooLarge = false
        hasAllHeaders = false
        headerBytes = 0
    }

    /// Returns the number of bytes taken; fewer than offered end the transfer.
    func takeBody(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard body.count + bytes.count <= bytesMaximum else {
            isTooLarge = true
            return 0
        }
        body.append(contentsOf: bytes)
        return bytes.count
    }

    /// As ``takeBody(_:)``, for one line with its break; libcurl keeps what is wanted of it.
    func takeHeader(_ line: UnsafeRawBufferPointer) -> Int {
        headerBytes += line.count
        guard headerBytes <= HTTPTransport.headerBytesMaximum else {
            isTooLarge = true
            return 0
        }
        if line.first == UInt8(ascii: "\r") || line.first == UInt8(ascii: "\n") {
            hasAllHeaders = true
        } else if line.starts(with: "HTTP/".utf8) {
            hasAllHeaders = false  // The answer after an interim one, as 100 Continue.
        }
        return line.count
    }

    func trace(_ kind: curl_infotype, byteCount: Int) {
        switch kind {
        case CURLINFO_HEADER_OUT, CURLINFO_DATA_OUT: bytesSent += byteCount
        case CURLINFO_HEADER_IN, CURLINFO_DATA_IN: bytesReceived += byteCount
        default: break  // Remarks, and what TLS adds.
        }
    }
}

// MARK: - Small things

/// An empty variable counts as none, as for the curl program.
private func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
}

private func monotonicMilliseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

/// RFC 4648 §4, with padding.
private func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
        for digit in 0..<4 {
            text.append(
                digit <= group.count
                    ? alphabet[bits >> (18 - 6 * digit) & 63] : UInt8(ascii: "="))
        }
    }
    return String(decoding: text, as: UTF8.self)
}
