import ArgumentParser
import HubServer
import TerminalUI

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Answer the devices.",
        discussion: """
            POST /v1/enroll, /v1/sync and /v1/history for devices; GET /healthz, /readyz and \
            /metrics (Prometheus) for the operator. Stops cleanly on SIGTERM and SIGINT. Without a \
            certificate it speaks plain HTTP: then something before it should do TLS.
            """)

    static let addressDefault = "127.0.0.1:8080"

    @OptionGroup var common: CommonOptions

    @Option(help: "HOST:PORT; port 0 picks a free one (default: \(Self.addressDefault)).")
    var listen: String?

    @Option(help: "The certificate and those above it, PEM.", completion: .file())
    var tlsCertificate: String?

    @Option(help: "The certificate's private key, PEM.", completion: .file())
    var tlsKey: String?

    func run() async throws {
        let flags = ServerSettings(
            listen: listen, certificate: tlsCertificate, key: tlsKey)
        try await common.run(flags) { program in
            let settings = program.settings
            let address = try ListenAddress(settings.listen ?? Self.addressDefault)
            let certificate: ServerCertificate?
            switch (settings.certificate, settings.key) {
            case (let certificatePath?, let keyPath?):
                certificate = try ServerCertificate(
                    certificatePath: certificatePath, keyPath: keyPath)
            case (nil, nil):
                certificate = nil
            default:
                throw CommandFailure(
                    .usage, "TLS needs both a certificate and its key",
                    hint: "--tls-certificate FILE --tls-key FILE")
            }
            let scheme = certificate == nil ? "http" : "https"
            let console = program.console
            let application = try await HubApplication(
                ServeOptions(
                    ledgerPath: program.ledgerPath, address: address, certificate: certificate)
            ) { port in
                let bound = ListenAddress(host: address.host, port: port)
                // Programs wait for this line, so it is the same in every language.
                console.note("listening on \(scheme)://\(bound.description)")
            }
            try await application.run()
            application.say(Phrase("stopped", "已停止")(program.language))
        }
    }
}
