/// One string and the columns that it takes.
struct WidthVector: Sendable {
    let text: String
    let width: Int

    init(_ text: String, _ width: Int) {
        self.text = text
        self.width = width
    }
}

/// Every number here is `wcwidth.wcswidth(text)` of PyPI `wcwidth` 0.7.0, written by a script and
/// never by hand. The first strings were picked for their scripts and sequences; the last thirty or
/// so are `random.Random(20261121)` mixtures of letters, Chinese, marks and emoji.
// swift-format-ignore
let widthVectors: [WidthVector] = [
    WidthVector("", 0),  //
    WidthVector("a", 1),  // a
    WidthVector("hello, world", 12),  // hello, world
    WidthVector("\u{4E2D}", 2),  // 中
    WidthVector("\u{5C0F}\u{533A}\u{91CC}\u{7F3A}\u{8DEF}\u{706F}", 12),  // 小区里缺路灯
    WidthVector("\u{5C0F}\u{533A}A\u{680B}2\u{5355}\u{5143}", 12),  // 小区A栋2单元
    WidthVector("\u{FF21}\u{FF22}\u{FF23}", 6),  // ＡＢＣ
    WidthVector("\u{FF71}\u{FF72}\u{FF73}", 3),  // ｱｲｳ
    WidthVector("\u{30AB}\u{30BF}\u{30AB}\u{30CA}", 8),  // カタカナ
    WidthVector("\u{304C}", 2),  // が
    WidthVector("\u{304B}\u{3099}", 2),  // が
    WidthVector("\u{D55C}\u{AD6D}\u{C5B4}", 6),  // 한국어
    WidthVector("\u{1112}\u{1161}\u{11AB}", 2),  // 한
    WidthVector("\u{182E}\u{1823}\u{1829}\u{182D}\u{1823}\u{182F}", 6),  // ᠮᠣᠩᠭᠣᠯ
    WidthVector("\u{1820}\u{180B}\u{1821}", 2),  // ᠠ᠋ᠡ
    WidthVector("\u{F56}\u{F7C}\u{F51}", 2),  // བོད
    WidthVector("\u{E44}\u{E17}\u{E22}", 3),  // ไทย
    WidthVector("\u{E01}\u{E33}", 2),  // กำ
    WidthVector("\u{928}\u{92E}\u{938}\u{94D}\u{924}\u{947}", 4),  // नमस्ते
    WidthVector("\u{915}\u{94D}\u{937}\u{93F}", 2),  // क्षि
    WidthVector("\u{E9}", 1),  // é
    WidthVector("e\u{301}", 1),  // é
    WidthVector("a\u{300}\u{301}\u{302}", 1),  // à́̂
    WidthVector("\u{C5}", 1),  // Å
    WidthVector("\u{DF}", 1),  // ß
    WidthVector("\u{2014}", 1),  // —
    WidthVector("\u{2026}", 1),  // …
    WidthVector("\u{2460}", 1),  // ①
    WidthVector("\u{B7}", 1),  // ·
    WidthVector("\u{B0}", 1),  // °
    WidthVector("\u{203B}", 1),  // ※
    WidthVector("\u{3010}\u{4E00}\u{3011}", 6),  // 【一】
    WidthVector("\u{300A}\u{4E8C}\u{300B}", 6),  // 《二》
    WidthVector("\u{201C}\u{4E09}\u{201D}", 4),  // “三”
    WidthVector("\u{FF0C}\u{3002}\u{FF01}\u{FF1F}", 8),  // ，。！？
    WidthVector("\u{3000}", 2),
    WidthVector("\u{A0}", 1),
    WidthVector("\u{AD}", 1),
    WidthVector("\u{200B}", 0),
    WidthVector("a\u{200B}b", 2),
    WidthVector("\u{200D}", 0),
    WidthVector("\u{FEFF}", 0),
    WidthVector("\u{1F600}", 2),  // 😀
    WidthVector("\u{1F44D}\u{1F3FD}", 2),  // 👍🏽
    WidthVector("\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{200D}\u{1F466}", 2),
    WidthVector("\u{1F469}\u{200D}\u{1F692}", 2),
    WidthVector("\u{1F3F3}\u{FE0F}\u{200D}\u{1F308}", 2),
    WidthVector("\u{1F3F4}\u{200D}\u{2620}\u{FE0F}", 2),
    WidthVector("\u{2764}", 1),  // ❤
    WidthVector("\u{2764}\u{FE0F}", 2),  // ❤️
    WidthVector("\u{2764}\u{FE0F}\u{200D}\u{1F525}", 2),
    WidthVector("\u{260E}\u{FE0E}", 1),  // ☎︎
    WidthVector("\u{231A}", 2),  // ⌚
    WidthVector("1\u{FE0F}\u{20E3}", 2),  // 1️⃣
    WidthVector("#\u{FE0F}\u{20E3}", 2),  // #️⃣
    WidthVector("\u{1F1E8}\u{1F1F3}", 2),  // 🇨🇳
    WidthVector("\u{1F1E8}", 2),  // 🇨
    WidthVector("\u{1F1E8}\u{1F1F3}\u{1F1E8}\u{1F1F3}", 4),  // 🇨🇳🇨🇳
    WidthVector("\u{26F9}\u{1F3FD}\u{200D}\u{2642}\u{FE0F}", 2),
    WidthVector("\u{2705}", 2),  // ✅
    WidthVector("\u{2713}", 1),  // ✓
    WidthVector("\u{2717}", 1),  // ✗
    WidthVector("\u{26A0}", 1),  // ⚠
    WidthVector("\u{26A0}\u{FE0F}", 2),  // ⚠️
    WidthVector("\u{2192}", 1),  // →
    WidthVector("\u{2588}", 1),  // █
    WidthVector("\u{2502}", 1),  // │
    WidthVector("\u{20000}", 2),  // 𠀀
    WidthVector("\u{1D4B3}", 1),  // 𝒳
    WidthVector("\u{FDFA}", 1),  // ﷺ
    WidthVector("\u{3220}", 2),  // ㈠
    WidthVector("\u{3007}", 2),  // 〇
    WidthVector("\u{3005}", 2),  // 々
    WidthVector("\u{30FC}", 2),  // ー
    WidthVector("\u{3A9}", 1),  // Ω
    WidthVector("\u{416}\u{443}\u{43A}", 3),  // Жук
    WidthVector("\u{5E2}\u{5D1}\u{5E8}\u{5D9}\u{5EA}", 5),  // עברית
    WidthVector("\u{627}\u{644}\u{639}\u{631}\u{628}\u{64A}\u{629}", 7),  // العربية
    WidthVector("\u{939}\u{93F}\u{928}\u{94D}\u{926}\u{940}", 4),  // हिन्दी
    WidthVector("\u{4E2D}a\u{4E2D}b", 6),  // 中a中b
    WidthVector("\u{8DEF}\u{706F}\u{1F526}\u{574F}\u{4E86}", 10),  // 路灯🔦坏了
    WidthVector("3 \u{697C}\u{1F474}\u{9700}\u{8981}\u{8F6E}\u{6905}", 14),
    WidthVector("100\u{FF05}", 5),  // 100％
    WidthVector("\u{FFE5}5", 3),  // ￥5
    WidthVector("\u{A5}5", 2),  // ¥5
    WidthVector("\u{20AC}5", 2),  // €5
    WidthVector("\u{2028}", 0),
    WidthVector("\u{FF8A}9\u{2026}9\u{2764}\u{FE0F}", 6),  // ﾊ9…9❤️
    WidthVector("9e\u{301}\u{E9}\u{1F1E8}\u{1F1F3}", 5),  // 9éé🇨🇳
    WidthVector("\u{1F1E8}\u{1F1F3}\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", 4),
    WidthVector("a\u{FF0C}\u{1F1E8}\u{1F1F3}\u{2026}\u{1F44D}\u{1F3FD}\u{2764}\u{FE0F}", 10),
    WidthVector("\u{2026}\u{4E2D}", 3),  // …中
    WidthVector("\u{FF0C}\u{1F44D}\u{1F3FD}e\u{301}", 5),  // ，👍🏽é
    WidthVector("\u{E9}\u{FF0C}", 3),  // é，
    WidthVector("a\u{4E2D}", 3),  // a中
    WidthVector("\u{1F44D}\u{1F3FD}Z9\u{FF8A}\u{182E}Z", 7),  // 👍🏽Z9ﾊᠮZ
    WidthVector("\u{182E}\u{2764}\u{FE0F}\u{FF8A} 9\u{1F1E8}\u{1F1F3}", 8),
    WidthVector(" \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{182E}\u{4E2D}", 6),
    WidthVector("\u{2026}\u{1F1E8}\u{1F1F3}", 3),  // …🇨🇳
    WidthVector("\u{2764}\u{FE0F} \u{FF0C}", 5),  // ❤️ ，
    WidthVector("Z\u{1F1E8}\u{1F1F3}a\u{1F600}\u{1F44D}\u{1F3FD}\u{2026}", 9),
    WidthVector("\u{2026}\u{E9}\u{1F1E8}\u{1F1F3}\u{FF0C}\u{1F44D}\u{1F3FD}", 8),
    WidthVector("e\u{301}\u{4E2D}", 3),  // é中
    WidthVector("a\u{182E}\u{2764}\u{FE0F}", 4),  // aᠮ❤️
    WidthVector("\u{E9}\u{1F600}\u{1F44D}\u{1F3FD}\u{FF0C}9\u{182E}\u{E9}\u{4E2D}a\u{182E}", 14),
    WidthVector(" \u{FF0C}Z\u{2764}\u{FE0F}", 6),  //  ，Z❤️
    WidthVector("\u{FF8A}\u{4E2D}", 3),  // ﾊ中
    WidthVector("\u{182E}\u{FF8A}\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{65D7}\u{2026}ZZ", 9),
    WidthVector("a\u{65D7}", 3),  // a旗
]
