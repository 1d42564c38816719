"""Every sentence of the reports, in English and in Japanese.

Guarantees that a key has both languages: a message is a pair. What the *evidence* says in words (a purpose, a state)
is in ``compliance/words.py``; a fact is never written here.
"""

LANGUAGES = ("en", "ja")

MESSAGES: dict[str, tuple[str, str]] = {
    "title.ropa": ("Record of processing activities", "処理活動の記録"),
    "title.dp": ("Differential privacy report", "差分プライバシー報告書"),
    "title.erasure": ("Erasure report", "消去報告書"),
    "title.access": ("Access report", "アクセス報告書"),
    "title.ingest": ("Ingest report", "取込み報告書"),
    "lead.ropa": (
        (
            "What is processed, for which purpose, on what ground and for how long: GDPR Article 30, with "
            "the columns that Japan’s Act on the Protection of Personal Information asks for."
        ),
        (
            "何を、どの目的で、どの根拠に基づき、いつまで処理するか。GDPR 第30条に基づく記録に、個人情報保護"
            "法（日本）上の項目を併記する。"
        ),
    ),
    "lead.dp": (
        (
            "How much training has revealed, at most, about any one person: each run, the ledger, and what "
            "an independent measurement found. After NIST SP 800-226."
        ),
        (
            "学習によって特定の一人について明らかになり得る情報の上限を、実行ごとの値、台帳、実測監査とともに"
            "示す。NIST SP 800-226 に準拠。"
        ),
    ),
    "lead.erasure": (
        (
            "What was erased after each withdrawal of consent, what was found when it was looked for again, "
            "and what was kept and why: GDPR Article 17."
        ),
        ("同意の撤回ごとに、何を消去し、消去後の再確認で何が見つかり、何をどの根拠で保持したかを示す。GDPR 第17条。"),
    ),
    "lead.access": (
        (
            "Who asked for what, for which purpose, when, and what was decided; refusals included. With a "
            "full check of the log that records it."
        ),
        (
            "誰が、何を、どの目的で、いつ求め、どう判断されたかを、拒否も含めて示す。あわせて、それを記録する"
            "監査ログ全体を検査した結果を示す。"
        ),
    ),
    "lead.ingest": (
        (
            "What became of every face in every video: whose consent it was kept under, or why it was dropped or "
            "held back; and the evidence that no frame was kept."
        ),
        (
            "各動画に映ったすべての顔について、どの同意に基づいて保持されたか、または、なぜ破棄もしくは隔離された"
            "かを示す。あわせて、フレームが一枚も保存されなかったことの証拠を示す。"
        ),
    ),
    "head.period": ("Period", "対象期間"),
    "head.as_of": ("As of", "基準日時"),
    "head.controller": ("Controller", "管理者（個人情報取扱事業者）"),
    "head.dpo": ("Data protection officer", "データ保護責任者（DPO）"),
    "head.generated": ("Generated", "作成日時"),
    "head.generator": ("Program", "作成プログラム"),
    "not_recorded": ("not recorded", "記録なし"),
    "none": ("none", "なし"),
    "yes": ("yes", "該当する"),
    "no": ("no", "該当しない"),
    "empty.rows": ("Nothing to list.", "該当なし。"),
    "proof.heading": ("Proof", "検証情報"),
    "proof.text": (
        (
            "This page is drawn from signed evidence that it carries inside. To check that not a word of either was "
            "changed, run the command below with the key that the site has published, not with one printed here."
        ),
        (
            "本書は、内部に埋め込まれた署名付き証拠データから生成されている。本書および証拠データに改変がないことは、"
            "当該組織が公表している公開鍵（本書に印字された鍵ではない）を指定して次のコマンドを実行することで確認できる。"
        ),
    ),
    "proof.signer": ("Signing key (Ed25519, hex)", "署名鍵（Ed25519 公開鍵、16進）"),
    "proof.signature": ("Signature", "署名値"),
    "proof.policy": ("Policies in force (SHA-256)", "適用ポリシー（SHA-256）"),
    "proof.checkpoint": ("Audit log checkpoint", "監査ログのチェックポイント"),
    # --- ropa
    "ropa.figure.persons": ("data subjects", "データ主体"),
    "ropa.figure.consents": ("consents in force", "有効な同意"),
    "ropa.figure.activities": ("activities", "処理活動"),
    "ropa.figure.transfers": ("transfers abroad", "外国への移転"),
    "ropa.figure.missing": ("fields missing", "未記入の項目"),
    "ropa.missing.heading": ("Missing", "未記入の項目"),
    "ropa.missing.field": ("Field", "項目"),
    "ropa.activities.heading": ("Processing activities", "処理活動"),
    "ropa.purpose": ("Purpose", "目的"),
    "ropa.legal_basis": ("Lawful basis", "適法根拠"),
    "ropa.special": ("Special category data", "特別な種類の個人データ"),
    "ropa.special_value": (
        "treated as such, on the ground of {ground}",
        "該当するものとして取り扱う（根拠：{ground}）",
    ),
    "ropa.subject_categories": ("Categories of data subjects", "データ主体の類型"),
    "ropa.data_categories": ("Categories of personal data", "個人データの類型"),
    "ropa.operations": ("Operations", "処理の内容"),
    "ropa.recipients": ("Recipients", "受領者（提供先）"),
    "ropa.transfers": ("Transfers to third countries", "第三国への移転"),
    "ropa.retention": ("Time limits for erasure", "消去までの期間"),
    "ropa.storage_locations": ("Location", "保管場所"),
    "ropa.consents": ("Consents", "同意"),
    "ropa.consents_value": (
        "{effective} in force, {ended} ended, {persons} persons",
        "有効 {effective} 件、終了 {ended} 件、対象者 {persons} 人",
    ),
    "ropa.japan.heading": ("Columns under Japan’s APPI", "個人情報保護法（日本）上の項目"),
    "ropa.japan.identification_code": ("Individual identification code", "個人識別符号"),
    "ropa.japan.special_care": ("Special-care information", "要配慮個人情報"),
    "ropa.japan.third_party": ("Provision to third parties", "第三者提供"),
    "ropa.japan.abroad": ("Provision abroad", "外国にある第三者への提供"),
    "ropa.japan.entrusted": ("Entrustment", "委託"),
    "ropa.japan.joint": ("Joint use", "共同利用"),
    "ropa.parties.heading": ("Parties", "関係当事者"),
    "ropa.parties.joint": ("Joint controllers", "共同管理者"),
    "ropa.parties.representative": ("Representative", "代理人"),
    "ropa.parties.processor_for": ("Processing on behalf of", "委託元の管理者（処理者として）"),
    "ropa.measures.heading": ("Security measures", "安全管理措置"),
    "ropa.measures.name": ("Measure", "措置"),
    "ropa.measures.detail": ("As found", "確認した内容"),
    "ropa.holdings.heading": ("What is held", "保有状況"),
    "ropa.holdings.store": ("Store", "保存先"),
    "ropa.holdings.count": ("Records", "件数"),
    # --- dp
    "dp.figure.worst": ("ε, the worst person", "最も多く消費した一人の ε"),
    "dp.figure.cap": ("cap on ε promised to them", "その一人に約束した ε の上限"),
    "dp.figure.guess": ("best guess, from 50 %", "参加の有無の推測的中率（50 % 起点）"),
    "dp.figure.persons": ("persons who took part", "学習の対象者"),
    "dp.figure.runs": ("training runs", "学習の実行"),
    "dp.words.heading": ("In plain words", "平易な説明"),
    "dp.words.unit": (
        (
            "The promise is made to each person, not to each picture: everything that one person "
            "contributed, in every video, counts as one."
        ),
        (
            "保護の約束は画像一枚ごとではなく、一人ごとになされる。すべての動画にわたり、ある一人が提供したも"
            "の全体を一つの単位として数える。"
        ),
    ),
    "dp.words.guess": (
        (
            "Someone who holds the models, knows everything else that went into them, and wants to know "
            "whether one particular person took part, starts from even odds (50 %) and is right at most "
            "{guess} of the time, even for the person who spent the most. The nearer to 50 %, the better."
        ),
        (
            "モデルを入手し、学習に用いられた他のすべてを知る者が、特定の一人が参加したか否かを五分五分（50 %"
            "）から推測する場合でも、的中率は、最も多く消費した一人についてさえ {guess} を超えない。50 % に近"
            "いほど保護は強い。"
        ),
    ),
    "dp.words.answers": (
        "{count} questions about many people were answered with noise, at ε {epsilon} in all for who could be counted.",
        "多数の人物に関する {count} 件の集計照会に、ノイズ付きで回答した（対象者の消費は合計 ε {epsilon}）。",
    ),
    "dp.words.limit": (
        (
            "This speaks of what the models reveal. The sealed crops and embeddings are protected by "
            "encryption and access control, not by this figure."
        ),
        (
            "これはモデルから明らかになり得る情報についての値である。封緘された顔画像片と埋め込みは、この値で"
            "はなく、暗号化とアクセス制御によって保護される。"
        ),
    ),
    "dp.guarantee.heading": ("The guarantee", "保証の内容"),
    "dp.unit": ("Unit of privacy", "プライバシー単位"),
    "dp.adjacency": ("Neighbouring data sets", "隣接関係"),
    "dp.mechanism": ("Mechanism", "メカニズム"),
    "dp.mechanism_answers": ("Mechanism of counts", "集計のメカニズム"),
    "dp.composition": ("Composition", "合成定理"),
    "dp.trust_model": ("Trust model", "信頼モデル"),
    "dp.data_source": ("Data", "対象データ"),
    "dp.release": ("What is released", "公開されるもの"),
    "dp.accountants": ("Accountants", "プライバシー会計手法"),
    "dp.accountants_value": ("{first}; checked with {second}", "{first}（{second} により検算）"),
    "dp.not_protected": ("Not protected by it", "保証の対象外"),
    "dp.spend.heading": ("The person who spent the most", "最も多く消費した一人"),
    "dp.spend.spent": ("ε spent", "消費済み ε"),
    "dp.spend.reserved": ("ε reserved, counted as spent", "予約済み ε（消費済みとして算入）"),
    "dp.spend.total": ("ε in all", "ε 合計"),
    "dp.spend.cap": ("ε promised at most", "約束した ε の上限"),
    "dp.spend.delta": ("δ in all", "δ 合計"),
    "dp.spend.over": ("Persons above their cap", "上限を超えた人数"),
    "dp.spend.smallest": ("Smallest cap promised to anyone", "約束した上限の最小値"),
    "dp.no_cap": ("no cap", "上限なし"),
    "dp.runs.heading": ("Training runs", "学習の実行"),
    "dp.run": ("Run", "実行"),
    "dp.state": ("State", "状態"),
    "dp.persons": ("Persons", "人数"),
    "dp.epsilon_check": ("ε, second accountant", "ε（検算値）"),
    "dp.noise": ("Noise multiplier", "ノイズ乗数"),
    "dp.clipping": ("Clipping norm", "クリップ上限"),
    "dp.sampling": ("Sampling probability", "抽出確率"),
    "dp.steps": ("Steps run / planned", "ステップ（実行／計画）"),
    "dp.audit.heading": ("Measured beside claimed", "実測と主張の対照"),
    "dp.audit.text": (
        (
            "A planted test person with the largest permitted reach is in or out of each audited step by a "
            "coin; what the noisy sums betray gives a lower bound with 95 % confidence. A bound below the "
            "claim does not prove the claim; a bound above it refutes it."
        ),
        (
            "許容される最大の影響をもつ試験用の人物を、監査する各ステップに硬貨投げで加え、または除く。ノイズ"
            "を加えた和から読み取れる程度が、95 % 信頼の下界となる。下界が主張値を下回っても主張の証明にはな"
            "らないが、上回れば主張は反証される。"
        ),
    ),
    "dp.audit.mu_claimed": ("μ claimed", "μ（主張）"),
    "dp.audit.mu_lower": ("μ at least (95 %)", "μ の下界（95 %）"),
    "dp.audit.epsilon_lower": ("ε at least (95 %)", "ε の下界（95 %）"),
    "dp.audit.observations": ("Observations", "観測数"),
    "dp.audit.result": ("Result", "結果"),
    "dp.ledger.heading": ("Ledger", "台帳"),
    "dp.ledger.at": ("Entered", "記帳日時"),
    "dp.ledger.entry": ("Entry", "記帳"),
    "dp.rounding": (
        ("Claims (ε, δ, the best guess) are rounded up, measured lower bounds down, so that rounding never flatters."),
        (
            "主張値（ε、δ、推測的中率）は切り上げ、実測の下界は切り捨てて表示する。端数処理によって実際より"
            "良く見えることはない。"
        ),
    ),
    # --- erasure
    "erasure.figure.erasures": ("withdrawals", "同意の撤回"),
    "erasure.figure.complete": ("erasures complete", "消去完了"),
    "erasure.figure.removed": ("records erased", "消去した記録"),
    "erasure.figure.left": ("records left", "残存した記録"),
    "erasure.figure.keys": ("keys destroyed", "破棄した鍵"),
    "erasure.figure.pending": ("model decisions open", "未決定のモデル"),
    "erasure.heading": ("Consent {consent}", "同意 {consent}"),
    "erasure.id": ("Erasure", "消去番号"),
    "erasure.subject": ("Data subject (pseudonym)", "データ主体（仮名）"),
    "erasure.requested": ("Withdrawn", "撤回日時"),
    "erasure.indicated": ("Indicated by", "撤回の意思表示をした者"),
    "erasure.finished": ("Finished", "完了日時"),
    "erasure.backups": ("Backups", "バックアップ"),
    "erasure.backups_until": (
        "irrecoverable by {until} at the latest (keys are renewed every {period})",
        "遅くとも {until} までに復元不能（鍵の更新周期：{period}）",
    ),
    "erasure.backups_closed": (
        "irrecoverable since {at}: older copies of the keystore open nothing any more",
        "{at} 以降は復元不能（鍵データベースの古い複製では復号できない）",
    ),
    "erasure.backups_open_before": (
        "copies of the databases made before {at} still open with the vault’s root key",
        "{at} より前に作成したデータベースの複製は、保管庫のルート鍵でなお復号できる",
    ),
    "erasure.stores": ("Records before and after", "消去前後の記録"),
    "erasure.store": ("Store", "保存先"),
    "erasure.before": ("Before", "消去前"),
    "erasure.after": ("Read back", "再確認時"),
    "erasure.keys": ("Keys", "暗号鍵"),
    "erasure.key": ("Key", "鍵"),
    "erasure.domain": ("Opens", "対象"),
    "erasure.destroyed": ("Destroyed", "破棄日時"),
    "erasure.read_back": ("Read back", "再確認"),
    "erasure.retained": ("Kept, and why", "保持したものとその根拠"),
    "erasure.item": ("Item", "項目"),
    "erasure.ground": ("Ground", "根拠"),
    "erasure.until": ("Until", "期限"),
    "erasure.models": ("Models that learned from the person", "当該データ主体のデータで学習したモデル"),
    "erasure.model": ("Model", "モデル"),
    "erasure.decision": ("Decision", "決定"),
    "erasure.due": ("Due", "決定期限"),
    # --- access
    "access.figure.decisions": ("decisions", "判断"),
    "access.figure.allow": ("allowed", "許可"),
    "access.figure.deny": ("denied", "拒否"),
    "access.figure.gap": ("could not be decided", "判断不能"),
    "access.figure.rows": ("records touched", "対象となった記録"),
    "access.log.heading": ("The audit log", "監査ログ"),
    "access.log.size": ("Entries checked", "検査した記録数"),
    "access.log.root": ("Root of the tree", "木の根ハッシュ"),
    "access.log.checked": ("Checked", "検査日時"),
    "access.log.result": ("Result", "結果"),
    "access.log.problem": ("Problem", "問題"),
    "access.principals.heading": ("By principal", "操作者別"),
    "access.principal": ("Principal", "操作者"),
    "access.decisions": ("Decisions", "判断数"),
    "access.refused": ("Refused", "拒否数"),
    "access.rows": ("Records", "記録数"),
    "access.last": ("Last", "最終日時"),
    "access.decisions.heading": ("Decisions", "判断の一覧"),
    "access.at": ("When", "日時"),
    "access.action": ("Act", "操作"),
    "access.purpose": ("Purpose", "目的"),
    "access.outcome": ("Decision", "判断"),
    "access.policy": ("Deciding policy", "適用された規則"),
    "access.default_deny": ("no policy allows it", "許可する規則なし"),
    # --- ingest
    "ingest.figure.videos": ("videos", "動画"),
    "ingest.figure.bound": ("tracks bound to a consent", "同意に紐付けたトラック"),
    "ingest.figure.dropped": ("tracks dropped before encoding", "符号化前に破棄したトラック"),
    "ingest.figure.quarantined": ("tracks quarantined", "隔離したトラック"),
    "ingest.figure.waiting": ("videos waiting for a person", "確認待ちの動画"),
    "ingest.figure.frames": ("frames kept", "保存したフレーム"),
    "ingest.findings.heading": ("Findings", "指摘事項"),
    "ingest.findings.text": (
        "What contradicts the promise that no frame and no bystander is kept, or leaves it less well evidenced.",
        "フレームおよび同意のない人物を一切保持しないという約束に反する事実、またはその証拠を弱める事実。",
    ),
    "ingest.finding": ("Finding", "指摘"),
    "ingest.rule": ("Rule", "規則"),
    "ingest.which": ("Video", "動画"),
    "ingest.video": ("Video, ingested (UTC)", "動画（取込み日時、UTC）"),
    "ingest.videos.heading": ("Videos and their tracks", "動画とトラック"),
    "ingest.videos.text": (
        "Detected = bound + dropped + quarantined, for every video. Of a dropped track nothing is kept but its count.",
        "どの動画でも、検出数＝紐付け数＋破棄数＋隔離数が成り立つ。破棄したトラックは、件数のほか何も保持しない。",
    ),
    "ingest.status": ("Status", "状態"),
    "ingest.frames_read": ("Frames read", "読取りフレーム"),
    "ingest.detected": ("Detected", "検出"),
    "ingest.bound": ("Bound", "紐付け"),
    "ingest.dropped": ("Dropped", "破棄"),
    "ingest.quarantined": ("Quarantined", "隔離"),
    "ingest.reasons": ("Why dropped or quarantined", "破棄・隔離の理由"),
    "ingest.times": ("\u00a0×\u00a0{count}", "：{count}\u00a0件"),
    "ingest.source": ("Source file", "元ファイル"),
    "ingest.bytes": ("{count} bytes", "{count} バイト"),
    "ingest.reasons.heading": ("Reasons, all videos", "理由別の集計（全動画）"),
    "ingest.reason": ("Reason", "理由"),
    "ingest.tracks": ("Tracks", "トラック"),
    "ingest.consents.heading": ("Whose consent the bound tracks rest on", "紐付けたトラックの根拠となる同意"),
    "ingest.consents.text": (
        "Persons are pseudonyms; “gone since” are tracks that have expired or were erased after a withdrawal.",
        "人物はすべて仮名で示す。「その後消滅」は、期限切れとなったもの、または撤回後に消去したものをいう。",
    ),
    "ingest.consent": ("Consent, and whose (pseudonym)", "同意と、そのデータ主体（仮名）"),
    "ingest.gone": ("Gone since", "その後消滅"),
    "ingest.quarantine.heading": ("Quarantine", "隔離"),
    "ingest.quarantine.text": (
        (
            "A video that the program may not decide about waits for a person. No picture of it is kept: what waits is "
            "a sealed record of where its file is and when each face was seen, destroyed at the deadline."
        ),
        (
            "プログラムだけで判断してはならない動画は、人による確認を待つ。画像は一切保持せず、ファイルの所在と各顔"
            "の出現時点だけを封緘して記録し、期限が来れば破棄する。"
        ),
    ),
    "ingest.state": ("State", "状態"),
    "ingest.deadline": ("Deadline (UTC)", "期限（UTC）"),
    "ingest.resolved": ("Ended (UTC)", "終了（UTC）"),
    "ingest.discard.heading": ("Evidence of discard", "フレーム破棄の証拠"),
    "ingest.discard.text": (
        "Recorded by the program about its own process and its machine while it read the video.",
        "動画を読み取る間、プログラムが自らのプロセスと実行環境について記録したもの。",
    ),
    "ingest.detector.heading": ("How each video was looked at", "顔の検出方法"),
    "ingest.detector.text": (
        (
            "A frame between two looks of the detector is covered by tracks that were followed without doubt; a face "
            "smaller than the smallest accepted is dropped."
        ),
        (
            "検出器が調べないフレームは、疑いなく追跡できているトラックによって補われる。受け入れる最小の大きさに満た"
            "ない顔は破棄する。"
        ),
    ),
    "ingest.detector": ("Detector", "検出器"),
    "ingest.kept": ("Frames kept", "保存フレーム"),
    "ingest.writes": ("Files written", "書込みファイル"),
    "ingest.buffers": ("Frame buffers", "フレームバッファ"),
    "ingest.core_dumps": ("Core dumps", "コアダンプ"),
    "ingest.swap": ("Swap", "スワップ"),
    "ingest.temp": ("Database temporaries", "データベースの一時領域"),
    "ingest.passes": ("Times read", "読取り回数"),
    "ingest.looked": ("Frames looked at", "検出フレーム"),
    "ingest.interval": ("Look at least every", "検出間隔（最大）"),
    "ingest.smallest": ("Smallest face, px", "最小の顔（px）"),
    "ingest.refusals.heading": ("Refused", "拒否した動画"),
    "ingest.refusals.text": (
        "Sources of which nothing was kept, by the reason’s code, over the whole life of the vault.",
        "何も保持せずに拒否した動画の件数（理由コード別、保管庫の全期間）。",
    ),
    "ingest.sources": ("Sources", "件数"),
}


def text(key: str, language: str, **values: str) -> str:
    """Return the message ``key`` in ``language`` with ``values`` put in.

    Raises:
        KeyError: there is no such message (a mistake of this program, found by its tests).
    """
    return MESSAGES[key][LANGUAGES.index(language)].format(**values)
