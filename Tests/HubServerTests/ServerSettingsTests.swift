import Glibc
import Testing

@testable import HubServer

@Suite struct ServerSettingsTests {
    @Test func flagsGoBeforeTheEnvironmentAndThatBeforeTheFile() throws {
        let flags = ServerSettings(ledger: "flag")
        let environment = ServerSettings(environment: [
            "WAYSTATION_LEDGER": "environment", "WAYSTATION_LISTEN": "environment",
        ])
        let file = try ServerSettings(
            file: "ledger = file\nlisten = file\ntls-certificate = file\ntls-key=file")
        #expect(
            flags.or(environment).or(file)
                == ServerSettings(
                    ledger: "flag", listen: "environment", certificate: "file", key: "file"))
    }

    @Test func emptyVariableIsNotSet() {
        #expect(ServerSettings(environment: ["WAYSTATION_LEDGER": ""]) == ServerSettings())
    }

    @Test func commentsSpacesAndWindowsLineEndsAreTaken() throws {
        let settings = try ServerSettings(
            file: "# where\r\n\r\n  ledger =  /srv/旗 1.db  \r\n  # listen = x\r\n")
        #expect(settings == ServerSettings(ledger: "/srv/旗 1.db"))
    }

    @Test(
        arguments: [
            ("ledger = a\nport = 1", .unknownKey(line: 2, "port")),
            ("\n\nledger", .notAssignment(line: 3)), ("ledger =", .noValue(line: 1, "ledger")),
            ("ledger = a\n\nledger = b", .repeated(line: 3, "ledger")),
        ] as [(String, SettingsError)])
    func faultIsNamedWithItsLine(text: String, error: SettingsError) {
        #expect(throws: error) { _ = try ServerSettings(file: text) }
    }
}

@Suite struct ListenAddressTests {
    @Test(
        arguments: [
            ("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:0", "::1", 0),
            ("example.org:443", "example.org", 443),
        ])
    func addressIsReadAndWritten(text: String, host: String, port: Int) throws {
        let address = try ListenAddress(text)
        #expect(address == ListenAddress(host: host, port: port))
        #expect(address.description == text)
    }

    @Test(arguments: ["", "8080", ":8080", "host:", "host:65536", "host:-1", "::1:80", "[]:1"])
    func somethingElseIsRefused(text: String) {
        #expect(throws: HubStartError.address(text)) { _ = try ListenAddress(text) }
    }
}

@Suite struct ServerCertificateTests {
    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBmzCCAUGgAwIBAgIUHxFLVQ58qix6CcsYDl+su97gkM0wCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTIyNTQwMFoYDzIxMjYxMDI4
        MjI1NDAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAAQysZYTGIwYpvu9bL8NW4JB8Q+AXnJadjO2kaNz4YbfNWB9k837Q9gR
        ydUw9JngVLTCx5Wy62TO5ZhN5kLV5YkBo28wbTAdBgNVHQ4EFgQUeXUMKCEV2NP6
        7J0xTHnEWpEpRAAwHwYDVR0jBBgwFoAUeXUMKCEV2NP67J0xTHnEWpEpRAAwDwYD
        VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
        zj0EAwIDSAAwRQIhAOMyfp89+A0uroqCgsvEBWrtF6BWOkIjER+Lm4y0DLU7AiA6
        KPIr2rRK2rzltnzst9mvUxDpWsZHKADivzdvcEkRMw==
        -----END CERTIFICATE-----

        """
    private static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcXRtSqSD5nlaPIwI
        ejzB4lZzzpAatRD4P4WIpMbaacuhRANCAAQysZYTGIwYpvu9bL8NW4JB8Q+AXnJa
        djO2kaNz4YbfNWB9k837Q9gRydUw9JngVLTCx5Wy62TO5ZhN5kLV5YkB
        -----END PRIVATE KEY-----

        """
    private static let otherKey = """
        -----BEGIN EC PRIVATE KEY-----
        MHcCAQEEIIeIuLH1ie0bSO7rp3wPXlKmgD8hVatFuMsCYIcx5PUZoAoGCCqGSM49
        AwEHoUQDQgAETER9r2oFiGHq8qQ7DGKlsbZQZ4Sd1QAt7jqTboZ8/XkdUbww1ggI
        BecDkQFdD03ILG9omlnP25gq+ry5EPcJxQ==
        -----END EC PRIVATE KEY-----

        """

    private static func with(
        _ test: (_ certificate: String, _ key: String, _ other: String) throws -> Void
    ) throws {
        let directory = try TestHub.makeDirectory()
        defer { TestHub.removeDirectory(directory) }
        var paths: [String] = []
        for (name, text) in [("c", certificate), ("k", key), ("o", otherKey)] {
            let path = directory + "/" + name
            let file = try #require(fopen(path, "w"))
            fputs(text, file)
            fclose(file)
            paths.append(path)
        }
        try test(paths[0], paths[1], paths[2])
    }

    /// Made with `openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum`.
    @Test func publicKeyHashIsThatOfOpenSSL() throws {
        try Self.with { certificate, key, _ in
            let hash = try ServerCertificate(certificatePath: certificate, keyPath: key)
                .publicKeyHash
            let digits = hash.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            #expect(digits == "1db767ff524bcd570d4e7953e6bb802d6a4c8be5c272a6f2f12fe7477782891b")
        }
    }

    @Test func keyOfAnotherCertificateIsRefused() throws {
        try Self.with { certificate, _, other in
            #expect(
                throws: HubStartError.certificate(
                    path: other, reason: "it is not the key of the certificate in \(certificate)")
            ) {
                _ = try ServerCertificate(certificatePath: certificate, keyPath: other)
            }
        }
    }

    @Test func swappedFilesAreRefused() throws {
        try Self.with { certificate, key, _ in
            #expect(throws: HubStartError.self) {
                _ = try ServerCertificate(certificatePath: key, keyPath: certificate)
            }
        }
    }
}
