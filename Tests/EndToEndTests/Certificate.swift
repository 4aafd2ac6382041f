import Foundation

/// A key with a certificate that it signed itself, made by the openssl program.
struct Certificate: Sendable {
    let path: String
    let keyPath: String

    /// - Parameter name: Of the two files in the world's folder.
    static func selfSigned(in world: World, name: String = "hub") async throws -> Certificate {
        let certificate = Certificate(
            path: "\(world.folder)/\(name).pem", keyPath: "\(world.folder)/\(name).key")
        let command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=hub",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificate.keyPath, "-out",
            certificate.path,
        ]
        try await world.start(command).end().expect(0)
        return certificate
    }
}
