import HubLedger
import NIOSSL

/// The server's TLS certificate, with those above it, and its private key.
package struct ServerCertificate: Sendable {
    let configuration: TLSConfiguration
    /// SHA-256 of the certificate's SubjectPublicKeyInfo: what invite codes carry and devices pin.
    package let publicKeyHash: [UInt8]

    /// Reads the files and checks that they fit together.
    ///
    /// - Parameters:
    ///   - certificatePath: PEM, the server's own certificate first.
    ///   - keyPath: PEM.
    /// - Throws: ``HubStartError/certificate(path:reason:)``.
    package init(certificatePath: String, keyPath: String) throws(HubStartError) {
        let chain = try Self.chain(at: certificatePath)
        publicKeyHash = try Self.hash(of: chain[0], path: certificatePath)
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(file: keyPath, format: .pem)
        } catch {
            throw .certificate(path: keyPath, reason: "no private key in PEM format is there")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        do {
            _ = try NIOSSLContext(configuration: configuration)
        } catch {
            throw .certificate(
                path: keyPath, reason: "it is not the key of the certificate in \(certificatePath)")
        }
        self.configuration = configuration
    }

    /// The hash of a certificate's public key, for an invite before the server's first start.
    package static func publicKeyHash(certificatePath: String) throws(HubStartError) -> [UInt8] {
        try hash(of: chain(at: certificatePath)[0], path: certificatePath)
    }

    private static func chain(at path: String) throws(HubStartError) -> [NIOSSLCertificate] {
        let chain = (try? NIOSSLCertificate.fromPEMFile(path)) ?? []
        guard !chain.isEmpty else {
            throw .certificate(path: path, reason: "no certificate in PEM format is there")
        }
        return chain
    }

    private static func hash(
        of certificate: NIOSSLCertificate, path: String
    ) throws(HubStartError) -> [UInt8] {
        guard let key = try? certificate.extractPublicKey().toSPKIBytes() else {
            throw .certificate(path: path, reason: "its public key cannot be read")
        }
        return sha256(key)
    }
}
