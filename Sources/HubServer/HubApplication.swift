import Glibc
import HubLedger
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOPosix
import NeedModel
import ServiceLifecycle
import UnixSignals

/// What `serve` is told.
package struct ServeOptions: Sendable {
    package var ledgerPath: String
    package var address: ListenAddress
    /// `nil` serves without TLS.
    package var certificate: ServerCertificate?
    /// Whether SIGTERM and SIGINT stop the server; otherwise only ``HubApplication/stop()`` does.
    package var stopsOnSignals: Bool
    /// Whether each request gets a line on standard error; warnings and errors always do.
    package var logsRequests: Bool
    /// After how long a connection is closed on which nothing moves.
    package var stillMax = Duration.seconds(HubLimits.stillSecondsMax)

    package init(
        ledgerPath: String, address: ListenAddress, certificate: ServerCertificate? = nil,
        stopsOnSignals: Bool = true, logsRequests: Bool = true
    ) {
        self.ledgerPath = ledgerPath
        self.address = address
        self.certificate = certificate
        self.stopsOnSignals = stopsOnSignals
        self.logsRequests = logsRequests
    }
}

/// The running hub: the ledger's lock and thread, and the HTTP server before them.
package struct HubApplication: Sendable {
    private let group: ServiceGroup
    private let address: ListenAddress
    private let log = ServerLog()
    /// Held until the application is let go.
    private let lock: LedgerLock?

    /// Locks and opens the ledger, and puts the parts together; nothing listens yet.
    ///
    /// - Parameters:
    ///   - clock: Milliseconds since 1970.
    ///   - onListening: Told the port once connections are accepted.
    /// - Throws: ``HubStartError`` or ``HubLedger/LedgerError``.
    package init(
        _ options: ServeOptions, clock: @escaping @Sendable () -> Int64 = wallMilliseconds,
        onListening: @escaping @Sendable (Int) async -> Void
    ) async throws {
        let logger = log.logger(options.logsRequests ? .info : .warning)
        let path = options.ledgerPath
        // Opening says better than a lock file in an empty place that there is no ledger.
        lock = access(path, F_OK) == 0 ? try LedgerLock(ledger: path) : nil
        address = options.address
        let metrics = HubMetrics()
        let ledger = try await LedgerThread.start(
            open: { try Ledger(opening: path, clock: clock, schema: .current) },
            onCommit: { [logger] figures in
                metrics.count(commit: figures)
                for event in figures.events { Self.tell(event, logger) }
                for entry in figures.brought {
                    logger.notice(
                        "a device brought back what this ledger had lost",
                        metadata: [
                            "device": "\(entry.device)", "changes": "\(entry.changes)",
                        ])
                }
            })
        let responder = HubResponder(ledger: ledger, metrics: metrics, logger: logger)
        do {
            let keyHash = options.certificate?.publicKeyHash
            try await ledger.call { try $0.setServerKey(keyHash) }
            let events = try await ledger.call { try $0.events() }
            for kind in [LedgerEvent.Kind.restored, .deviceAhead, .recordAltered] {
                if let event = events.last(where: { $0.kind == kind }) { Self.tell(event, logger) }
            }
            let server = try Self.server(options, logger: logger, onListening: onListening) {
                try await responder.respond(to: $0, with: $1)
            }
            // Stopped in reverse: first the server, once its requests are answered, then the
            // ledger.
            var configuration = ServiceGroupConfiguration(
                services: [LedgerService(ledger: ledger), server],
                gracefulShutdownSignals: options.stopsOnSignals ? [.sigterm, .sigint] : [],
                logger: Self.quiet(logger))
            configuration.maximumGracefulShutdownDuration = .seconds(HubLimits.stopSecondsMax)
            group = ServiceGroup(configuration: configuration)
        } catch {
            await ledger.stop()
            log.flush()
            throw error
        }
    }

    /// Serves until told to stop, then finishes the requests in hand and closes the ledger.
    ///
    /// - Throws: ``HubStartError/listen(address:reason:)`` when the address cannot be had.
    package func run() async throws {
        defer { log.flush() }
        do {
            try await group.run()
        } catch let error as IOError {
            throw HubStartError.listen(
                address: address.description, reason: systemMessage(error.errnoCode))
        } catch let error as SocketAddressError.UnknownHost {
            throw HubStartError.listen(
                address: address.description, reason: error.errorDescription)
        } catch let error as SocketAddressError {
            throw HubStartError.listen(address: address.description, reason: "\(error)")
        } catch is CancellationError {
            // Requests that outlasted their time were cut off; devices send them again.
        }
    }

    /// Says something in the log, as it is. Unlike standard error itself, this never waits long for a
    /// reader that has stopped.
    package func say(_ line: String) { log.say(line) }

    /// Stops as a signal does.
    package func stop() async {
        await group.triggerGracefulShutdown()
    }

    private static func server(
        _ options: ServeOptions, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void,
        responder: @escaping @Sendable (Request, consuming ResponseWriter) async throws -> Void
    ) throws -> any Service {
        var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
        decoder.maxHeaderFieldSize = HubLimits.headerBytesMax
        decoder.maxHeaderListSize = HubLimits.headerBytesMax
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                StillConnectionCloser(stillMax: TimeAmount(options.stillMax))
            ], httpDecoderConfiguration: decoder)
        let builder = HTTPServerBuilder { responder in
            let channel = HTTP1Channel(responder: responder, configuration: configuration)
            guard let certificate = options.certificate else {
                return LoopBoundChannel(base: channel)
            }
            return LoopBoundChannel(
                base: try TLSChannel(channel, tlsConfiguration: certificate.configuration))
        }
        let quietLogger = quiet(logger)
        return try builder.buildServer(
            configuration: ServerConfiguration(
                address: .hostname(options.address.host, port: options.address.port),
                availableConnectionsDelegate: ConnectionCap(
                    connectionsMax(), logger: quietLogger)),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: quietLogger,
            responder: { request, writer, _ in try await responder(request, writer) },
            onServerRunning: { channel in
                await onListening(channel.localAddress?.port ?? options.address.port)
            })
    }

    /// The log's words for what befell the ledger.
    private static func tell(_ event: LedgerEvent, _ logger: Logger) {
        var metadata: Logger.Metadata = [
            "at": "\(utcText(event.milliseconds))", "term": "\(event.term)",
            "sequence": "\(event.sequence)",
        ]
        switch event.kind {
        case .restored:
            logger.notice(
                "this ledger was restored; devices bring back what they hold", metadata: metadata)
        case .deviceAhead:
            metadata["device"] = "\(event.device ?? 0)"
            logger.warning(
                "a device was ahead of this ledger, which is an older copy", metadata: metadata)
        case .recordAltered:
            logger.error(
                "the disk has altered a record, which is withheld from devices; run check",
                metadata: metadata)
        }
    }

    /// The libraries' own lines, at info, would double ours.
    private static func quiet(_ logger: Logger) -> Logger {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        return quiet
    }

    /// Raises the process's soft limit of open files as far as it may, and says how many
    /// connections fit.
    private static func connectionsMax() -> Int {
        let kept = HubLimits.descriptorsKept(loops: NIOSingletons.groupLoopCountSuggestion)
        let wanted = HubLimits.connectionsMax + kept
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return HubLimits.connectionsMax
        }
        if limit.rlim_cur < rlim_t(wanted) {
            limit.rlim_cur = min(limit.rlim_max, rlim_t(wanted))
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return max(1, min(Int(clamping: limit.rlim_cur), wanted) - kept)
    }
}

/// Keeps the ledger's thread alive as long as there are requests, and has it store from time to
/// time what an empty sync leaves in memory.
private struct LedgerService: Service {
    let ledger: LedgerThread

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(HubLimits.flushSeconds))) != nil {
                // A failure is no news: the next sync meets the same disk, and says so.
                try? await ledger.call { try $0.flush() }
            }
        }
        // Cancelled or asked to stop: the ledger is closed cleanly either way.
        await ledger.stop()
    }
}

/// The wall clock, milliseconds since 1970.
package func wallMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
