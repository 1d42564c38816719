"""The words that evidence uses (purposes, states, tables), for people, in English and in Japanese.

Guarantees that a word without a translation is shown as it stands in the evidence, never dropped.
"""

from typing import Literal

from fabnet_secure.compliance.messages import LANGUAGES

Tone = Literal["good", "attention", "bad", "plain"]

WORDS: dict[str, tuple[str, str]] = {
    # purposes
    "train_model": ("training a model", "モデルの学習"),
    "embed": ("computing embeddings", "埋め込みの生成"),
    "query_internal": ("internal queries", "内部での照会"),
    "share_third_party": ("sharing with third parties", "第三者への提供"),
    "emotion_inference": ("inferring emotions", "感情の推定"),
    "identity_matching": ("matching identities", "本人の照合"),
    # legal bases, roles, who indicated
    "explicit_consent": ("explicit consent", "明示的な同意"),
    "controller": ("controller", "管理者"),
    "processor": ("processor", "処理者"),
    "subject": ("the data subject", "データ主体本人"),
    "guardian": ("guardian", "法定代理人（保護者）"),
    "representative": ("representative", "代理人"),
    "authority": ("authority", "監督機関"),
    # categories of data subjects
    "adult": ("adults", "成人"),
    "child": ("children", "子ども"),
    "employee": ("employees", "従業員"),
    "student": ("students", "生徒・学生"),
    "patient": ("patients", "患者"),
    "customer": ("customers", "顧客"),
    "research_participant": ("research participants", "研究参加者"),
    # data, operations, places
    "face_video": ("face video", "顔動画"),
    "face crops": ("face crops", "顔画像片"),
    "facial_embedding": ("facial embeddings", "顔の埋め込み"),
    "facial-attribute embeddings": ("facial-attribute embeddings", "顔属性の埋め込み"),
    "facial-attribute gradients": ("facial-attribute gradients", "顔属性の勾配"),
    "collect": ("collection", "取得"),
    "store": ("storage", "保管"),
    "erase": ("erasure", "消去"),
    "encode": ("encoding", "符号化"),
    "train": ("training", "学習"),
    "query": ("querying", "照会"),
    "random_ids": (
        "random subject ids; references sealed under keys of their own",
        "無作為な仮名識別子。氏名等は専用の鍵で封緘",
    ),
    "on premise": ("on premises", "自組織内（オンプレミス）"),
    "on_premise": ("on premises", "自組織内（オンプレミス）"),
    # stores and key domains
    "subjects": ("subjects", "データ主体"),
    "consents": ("consents", "同意記録"),
    "videos": ("videos (records, no pictures)", "動画の記録（画像なし）"),
    "tracks": ("living tracks", "有効な顔トラック"),
    "track_rows": ("rows of erased tracks: counts and times only", "消去済みトラックの行（件数と時刻のみ）"),
    "tracklets": ("sealed face crops", "封緘済み顔画像片"),
    "embeddings": ("sealed embeddings", "封緘済み埋め込み"),
    "embedding_pages": ("sealed pages of embeddings", "埋め込みの封緘済みページ"),
    "openings": ("log openings", "監査ログの開示値"),
    "log_openings": ("log openings", "監査ログの開示値"),
    "log_opening": ("log openings", "監査ログの開示値"),
    "keys": ("keys", "暗号鍵"),
    "tracks_bound": ("tracks bound to a consent", "同意に紐付いたトラック"),
    "tracks_dropped": ("tracks dropped before encoding", "符号化前に破棄したトラック"),
    "tracks_quarantined": ("tracks in quarantine", "隔離中のトラック"),
    "tracks_expired": ("tracks expired", "期限切れのトラック"),
    "tracks_erased": ("tracks erased", "消去済みのトラック"),
    "models": ("models", "モデル"),
    "identity": ("identity", "本人識別情報"),
    "evidence": ("consent evidence", "同意の証拠"),
    # security measures
    "encryption": ("Encryption at rest", "保管時の暗号化"),
    "keys_apart": ("Keys kept apart from data", "鍵とデータの分離保管"),
    "access_control": ("Access control", "アクセス制御"),
    "audit_log": ("Tamper-evident audit log", "改ざん検知可能な監査ログ"),
    "differential_privacy": ("Differential privacy", "差分プライバシー"),
    "frame_discard": ("Raw frames are not kept", "生フレームの非保持"),
    "pseudonymisation": ("Pseudonyms", "仮名の使用"),
    "retention": ("Expiry of every artefact", "全生成物の保存期限"),
    "erasure": ("Erasure by key destruction", "鍵の破棄による消去"),
    # names of fields that may be missing
    "legal_basis": ("lawful basis", "適法根拠"),
    "subject_categories": ("categories of data subjects", "データ主体の類型"),
    "data_categories": ("categories of personal data", "個人データの類型"),
    "operations": ("operations", "処理の内容"),
    "storage_locations": ("location", "保管場所"),
    "measures": ("security measures", "安全管理措置"),
    "activities": ("processing activities", "処理活動"),
    # differential privacy
    "person": ("one person, over all videos and tracks", "一人（全動画・全トラックを通じて）"),
    "add_or_remove_one": ("add or remove one person", "一人の追加または削除"),
    "poisson_subsampled_gaussian": (
        "Gaussian noise on clipped contributions of randomly drawn persons",
        "無作為に抽出した人物の寄与をクリッピングし、ガウスノイズを付加",
    ),
    "basic": ("basic composition over whole jobs", "処理全体を単位とする基本合成"),
    "person_count": ("how many people took part", "学習の対象者数"),
    "plan_values": ("the plan’s own values", "学習計画の設定値"),
    "central": ("central: the site sees the data, others see the models", "中央型（データは当該組織のみが取り扱う）"),
    "consented_face_tracklets": ("face crops of consenting persons", "同意した人物の顔画像片"),
    "models_on_premise": ("models, on premises", "モデル（自組織内）"),
    "reserved": ("reserved", "予約済み"),
    "committed": ("committed", "確定"),
    "running": ("running", "実行中"),
    "failed": ("failed", "失敗"),
    "not_refuted": ("not refuted", "反証されず"),
    "not_audited": ("not audited", "未監査"),
    # outcomes
    "complete": ("complete", "完了"),
    "entries_complete": ("complete", "記載完備"),
    "entries_incomplete": ("fields missing", "記載不備"),
    "partial": ("partial", "一部未完了"),
    "pending": ("pending", "未完了"),
    "none": ("nothing erased", "消去なし"),
    "within_cap": ("within every cap", "全員が上限以内"),
    "over_cap": ("over a cap", "上限超過あり"),
    "refuted": ("claim refuted", "主張が反証された"),
    "nothing_spent": ("nothing spent", "消費なし"),
    "log_whole": ("log whole", "監査ログは完全"),
    "log_broken": ("log broken", "監査ログに異常あり"),
    "allow": ("allowed", "許可"),
    "deny": ("denied", "拒否"),
    "gap": ("not decidable", "判断不能"),
    "gone": ("opens nothing", "復号不能"),
    "opens": ("still opens", "なお復号可能"),
    "alive": ("not destroyed", "未破棄"),
    # models
    "dp": ("private (DP)", "差分プライバシー適用"),
    "public": ("public", "公開データのみ"),
    "keep_if_dp": ("kept under its ε", "ε の保証の下で維持"),
    "undecided": ("to be decided", "未決定"),
    "retrain": ("retrain", "再学習"),
    "retire": ("retire", "廃止"),
    "keystore_copies": (
        "copies of the keystore made before the erasure still hold the wrapped keys until they are destroyed",
        "消去前に作成した鍵データベースの複製には、破棄されるまで暗号化された鍵が残る",
    ),
    # what a withdrawal keeps, and its grounds
    "consent_record": ("the consent’s record and events", "同意の記録とその経過"),
    "sealed_reference": ("the subject’s reference, sealed under its own key", "データ主体の参照番号（固有の鍵で封緘）"),
    "log_commitments": ("commitments in the audit log, no longer openable", "監査ログ中のコミットメント（開示不能）"),
    "privacy_ledger": ("the ε already spent, in the privacy ledger", "プライバシー台帳中の消費済み ε"),
    "GDPR 7(1), 5(2)": ("GDPR 7(1), 5(2): to demonstrate the consent", "GDPR 第7条1項・第5条2項（同意の証明）"),
    "GDPR 7(1)": ("GDPR 7(1): to demonstrate whose consent it was", "GDPR 第7条1項（同意した本人の証明）"),
    "GDPR 5(2)": ("GDPR 5(2): accountability", "GDPR 第5条2項（説明責任）"),
    "NIST SP 800-226": ("NIST SP 800-226: a spend cannot be taken back", "NIST SP 800-226（消費は取り消せない）"),
    "copies of the keystore made before the erasure still hold the wrapped keys until they are destroyed": (
        "copies of the keystore made before the erasure still hold the wrapped keys until they are destroyed",
        "消去前に作成した鍵保管庫の写しは、廃棄されるまで封緘済みの鍵を保持する",
    ),
    # acts
    "init": ("create the vault", "保管庫の作成"),
    "consent_add": ("record a consent", "同意の登録"),
    "consent_read": ("read consents", "同意の閲覧"),
    "ingest": ("ingest video", "動画の取込み"),
    "track_list": ("list tracks", "トラックの一覧"),
    "train_plan": ("plan a training", "学習の計画"),
    "train_run": ("train", "学習の実行"),
    "query_similar": ("find similar attributes", "類似する顔属性の検索"),
    "withdraw": ("withdraw a consent", "同意の撤回"),
    "report": ("write a report", "報告書の作成"),
    "audit_verify": ("check the log", "監査ログの検査"),
    "audit_export": ("export the log", "監査ログの書出し"),
    "budget_read": ("read the budget", "予算の閲覧"),
    "model_read": ("read models", "モデルの閲覧"),
    "role_grant": ("grant a role", "役割の付与"),
    "key_rekey": ("re-wrap keys", "鍵の再封緘"),
    "quarantine_list": ("list the quarantine", "隔離中の動画の一覧"),
    "quarantine_release": ("release from quarantine", "隔離の解除"),
    "quarantine_destroy": ("destroy what is quarantined", "隔離記録の破棄"),
    # what became of videos, tracks and files
    "ingested": ("ingested", "取込み済み"),
    "quarantined": ("quarantined", "隔離"),
    "held": ("waiting", "確認待ち"),
    "released": ("released", "解除済み"),
    "destroyed": ("destroyed", "破棄済み"),
    "expired": ("deadline passed", "期限到来により破棄"),
    "keep": ("kept", "保持"),
    "delete_due": ("to be deleted", "削除予定"),
    "deleted": ("deleted", "削除済み"),
    "delete_failed": ("not deleted", "削除できず"),
    "file_gone": ("was not there any more", "既に存在せず"),
    "file_changed": ("was another file by then", "別のファイルに置換済み"),
    "file_symlink": ("was a symbolic link", "シンボリックリンク"),
    "file_hard_linked": ("has a second name", "別名（ハードリンク）あり"),
    "file_denied": ("permission denied", "権限なし"),
    "file_read_only": ("read-only file system", "読取り専用"),
    "file_not_synced": ("deletion not confirmed by the disk", "ディスクへの反映を確認できず"),
    "file_system": ("refused by the system", "システムによる拒否"),
    # why a track was dropped or a video quarantined
    "too_short": ("seen too briefly", "出現時間が短い"),
    "too_small": ("too small", "顔が小さい"),
    "unbound": ("bound to nobody", "該当する同意者なし"),
    "other_scene": ("in another scene", "別の場面"),
    "ambiguous": ("not clear whose", "本人を特定できず"),
    "outside_regions": ("outside every seat", "指定領域の外"),
    "no_encoder": ("no model to embed with", "埋め込み用モデルなし"),
    "consent_withdrawn": ("consent withdrawn", "同意の撤回"),
    "consent_expired": ("consent expired", "同意の期限切れ"),
    "purpose_not_covered": ("purpose not covered", "目的が同意の範囲外"),
    "several_faces": ("several faces at once", "複数の顔が同時に出現"),
    "flickering_face": ("a second face now and then", "第二の顔が断続的に出現"),
    "crowd": ("a crowd", "多人数"),
    "bystanders": ("too large a share of bystanders", "同意者以外の割合が過大"),
    "several_subjects": ("several persons declared", "複数の同意者を申告"),
    "unknown_camera": ("unknown camera", "未登録のカメラ"),
    # how a video was read
    "on": ("on", "有効"),
    "off": ("off", "無効"),
    "memory": ("in memory", "メモリ内"),
    "locked": ("locked in memory", "メモリに固定"),
    "unlocked": ("not locked", "固定せず"),
    "swap_none": ("not in use", "未使用"),
    "swap_encrypted": ("encrypted", "暗号化済み"),
    "swap_unencrypted": ("unencrypted", "暗号化なし"),
    "swap_unknown": ("not known", "不明"),
    # findings of the ingest report and its outcomes
    "counts_broken": ("tracks do not add up", "トラック数の不一致"),
    "quarantine_overdue": ("held past its deadline", "隔離期限の超過"),
    "frames_persisted": ("frames were kept", "フレームの保存"),
    "files_written": ("files were written meanwhile", "読取り中のファイル書込み"),
    "source_due": ("source not deleted yet", "元ファイルが未削除"),
    "source_left": ("source could not be deleted", "元ファイルの削除に失敗"),
    "discard_unrecorded": ("evidence not recorded", "証拠の記録なし"),
    "buffers_unlocked": ("frame buffers not locked", "フレームバッファが未固定"),
    "core_dumps_on": ("core dumps were on", "コアダンプが有効"),
    "clear_swap": ("swap was unencrypted", "スワップが暗号化されていない"),
    "unknown_swap": ("state of swap not known", "スワップの状態が不明"),
    "discard_shown": ("discard evidenced", "破棄の証拠あり"),
    "discard_gaps": ("evidence incomplete", "証拠に不備あり"),
    "discard_broken": ("promise not kept", "約束に反する事実あり"),
    "nothing_ingested": ("nothing ingested", "取込みなし"),
}

_GOOD = (
    "complete", "entries_complete", "within_cap", "log_whole", "allow", "gone", "not_refuted", "discard_shown",
)  # fmt: skip
_ATTENTION = (
    "entries_incomplete", "pending", "undecided", "gap", "deny", "not_audited", "reserved",
    "discard_gaps", "held", "source_due", "source_left", "discard_unrecorded", "buffers_unlocked", "core_dumps_on",
    "clear_swap", "unknown_swap",
)  # fmt: skip
_BAD = (
    "partial", "over_cap", "refuted", "log_broken", "opens", "alive", "failed",
    "discard_broken", "counts_broken", "quarantine_overdue", "frames_persisted", "files_written",
)  # fmt: skip
_TONES: dict[str, Tone] = {
    **dict.fromkeys(_GOOD, "good"),
    **dict.fromkeys(_ATTENTION, "attention"),
    **dict.fromkeys(_BAD, "bad"),
}


def word(value: str, language: str) -> str:
    """Return ``value`` for a reader of ``language``; as it stands when it is not in the table."""
    pair = WORDS.get(value)
    return value if pair is None else pair[LANGUAGES.index(language)]


def tone(value: str) -> Tone:
    """Return how an outcome is shown: the only use of colour in a report."""
    return _TONES.get(value, "plain")
