import Testing

@testable import HubLedger

@Suite("Secrets")
struct SecretsTests {
    @Test("base 32 is that of RFC 4648", arguments: [
        ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI"),
    ])
    func base32(_ text: String, _ encoded: String) {
        #expect(Secrets.base32Text(Array(text.utf8)) == encoded)
    }
}
