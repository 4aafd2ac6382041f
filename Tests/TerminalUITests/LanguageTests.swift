import Testing

@testable import TerminalUI

@Suite struct LanguageTests {
    @Test(
        arguments: [
            ("en", Language.english), ("zh-Hans", .chinese), ("ZH-hans", .chinese),
            ("zh", .chinese), ("zh-CN", .chinese),
        ])
    func optionNamesALanguage(tag: String, language: Language) throws {
        #expect(try Language(tag: tag) == language)
    }

    @Test(arguments: ["", "zh-Hant", "de", "english", "en_US", "zh-Hans "])
    func unknownOptionIsAnError(tag: String) {
        #expect(throws: UnknownLanguage()) { try Language(tag: tag) }
    }

    @Test(
        arguments: [
            ("zh_CN.UTF-8", Language.chinese), ("zh-Hans", .chinese), ("zh", .chinese),
            ("zh@x", .chinese), ("zha_CN", .english), ("en_US.UTF-8", .english), ("C", .english),
            ("", .english),
        ])
    func localeNamesALanguage(locale: String, language: Language) {
        #expect(Language(environment: ["LANG": locale]) == language)
    }

    @Test func firstVariableThatIsNotEmptyDecides() {
        let environment = ["LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"]
        #expect(Language(environment: environment) == .chinese)
    }

    @Test func allOverridesTheOthers() {
        let environment = ["LC_ALL": "C.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "zh_CN"]
        #expect(Language(environment: environment) == .english)
    }

    @Test func optionOverridesTheEnvironment() throws {
        #expect(try Language(option: "en", environment: ["LANG": "zh_CN"]) == .english)
    }

    @Test func environmentDecidesWithoutOption() throws {
        #expect(try Language(option: nil, environment: ["LANG": "zh_CN"]) == .chinese)
    }

    @Test(arguments: Language.allCases)
    func tagIsAcceptedAsOption(language: Language) throws {
        #expect(try Language(tag: language.tag) == language)
    }

    @Test(arguments: [(Language.english, "Recorded"), (.chinese, "已记录")])
    func phraseSpeaksTheLanguage(language: Language, expected: String) {
        #expect(Phrase("Recorded", "已记录")(language) == expected)
    }
}
