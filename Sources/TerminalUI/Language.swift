/// A language that the two programs speak.
package enum Language: Sendable, Equatable, CaseIterable {
    case english
    case chinese

    /// The value that `--language` takes for it, a BCP 47 tag: `en` or `zh-Hans`.
    package var tag: String {
        switch self {
        case .english: "en"
        case .chinese: "zh-Hans"
        }
    }

    /// Reads the value of `--language`, in any case.
    ///
    /// `zh` and `zh-CN` are taken too. `zh-Hant` is not: whoever asks for traditional characters
    /// should learn that there are none rather than wonder.
    ///
    /// - Throws: ``UnknownLanguage`` for every other value.
    package init(tag: String) throws(UnknownLanguage) {
        switch tag.lowercased() {
        case "en": self = .english
        case "zh-hans", "zh", "zh-cn": self = .chinese
        default: throw UnknownLanguage()
        }
    }

    /// Chooses by the locale, as POSIX orders its variables: the first of `LC_ALL`, `LC_MESSAGES`
    /// and `LANG` that is set and not empty decides. Whatever is not Chinese is English.
    package init(environment: [String: String]) {
        let names = ["LC_ALL", "LC_MESSAGES", "LANG"]
        let locale = names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        // "zh_CN.UTF-8", "zh-Hans" and "zh" are Chinese; "zha" (Zhuang) is not.
        let language = locale.prefix { !"_.-@".contains($0) }
        self = language.lowercased() == "zh" ? .chinese : .english
    }

    /// Chooses by `--language` if it was given, else by the environment.
    ///
    /// - Throws: ``UnknownLanguage`` when the option holds neither language.
    package init(option: String?, environment: [String: String]) throws(UnknownLanguage) {
        if let option {
            try self.init(tag: option)
        } else {
            self.init(environment: environment)
        }
    }
}

/// `--language` was given a value that names no language of ours.
package struct UnknownLanguage: Error, Equatable, CustomStringConvertible {
    // Both languages at once: which of them the reader knows is just what we failed to learn.
    package var description: String { "unknown language / 未知语言" }
    package var hint: String { "--language en | --language zh-Hans" }
}

/// One text of the program in both languages, so that neither can be forgotten.
///
/// For the program's own words: ``StyledText`` keeps a phrase's line breaks, which it does not for
/// text that people typed.
package struct Phrase: Sendable, Equatable {
    package let english: String
    package let chinese: String

    package init(_ english: String, _ chinese: String) {
        self.english = english
        self.chinese = chinese
    }

    package func text(in language: Language) -> String {
        switch language {
        case .english: english
        case .chinese: chinese
        }
    }

    package func callAsFunction(_ language: Language) -> String { text(in: language) }
}
