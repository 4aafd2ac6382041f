import Glibc
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import UnixSignals

/// The floor of a request: Hummingbird as it comes, and nothing behind it.
///
/// `/echo` answers with the body it was sent, anything else with an empty one.
enum EchoServer {
    private static let bodyBytesMax = 1 << 20

    /// Serves on a free port of 127.0.0.1, which it tells on standard error, until SIGTERM.
    static func run() async throws {
        var logger = Logger(label: "echo") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        let server = try HTTPServerBuilder.http1().buildServer(
            configuration: ServerConfiguration(address: .hostname("127.0.0.1", port: 0)),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
            responder: { request, writer, _ in try await answer(request, writer) },
            onServerRunning: { channel in
                let line = Array(
                    "listening on http://127.0.0.1:\(channel.localAddress?.port ?? 0)\n".utf8)
                _ = write(STDERR_FILENO, line, line.count)
            })
        try await ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [server], gracefulShutdownSignals: [.sigterm], logger: logger)
        ).run()
    }

    private static func answer(
        _ request: Request, _ writer: consuming ResponseWriter
    ) async throws {
        let body = try await request.body.collect(upTo: bodyBytesMax)
        let answer = request.uri.path == "/echo" ? body : ByteBuffer()
        var fields: HTTPFields = [:]
        fields[.contentLength] = String(answer.readableBytes)
        try await writer.write(
            response: HTTPResponse(status: .ok, headerFields: fields),
            body: ResponseBody(byteBuffer: answer))
    }
}
