"""Names of functions that change no table, so that calling them says nothing about rows.

The lists are the functions that migrations use, from the manual's chapter "Functions and
Operators"; a function that is not here counts as one that may write anywhere.
"""

PURE = frozenset(
    """
    abs acos age any_value area array_agg array_append array_cat array_dims array_fill
    array_length array_lower array_ndims array_position array_positions array_prepend
    array_remove array_replace array_reverse array_shuffle array_sort array_to_json
    array_to_string array_upper ascii asin atan atan2 avg bit_and bit_length bit_or bit_xor
    bool_and bool_or box broadcast btrim cardinality casefold cbrt ceil ceiling char_length
    character_length chr circle clock_timestamp col_description concat concat_ws convert
    convert_from convert_to corr cos cot count covar_pop covar_samp crc32 crc32c cume_dist
    current_database current_query current_schema current_schemas current_setting currval date
    date_add date_bin date_part date_subtract date_trunc decode degrees dense_rank diameter div
    encode enum_first enum_last enum_range every exp extract factorial family first_value floor
    format format_type gcd gen_random_uuid generate_series generate_subscripts get_bit get_byte
    getdatabaseencoding has_any_column_privilege has_column_privilege has_database_privilege
    has_function_privilege has_schema_privilege has_sequence_privilege has_table_privilege
    has_type_privilege height host hostmask inet_merge inet_same_family initcap isempty
    isfinite json_agg json_agg_strict json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text
    json_extract_path json_extract_path_text json_object json_object_agg json_object_keys
    json_populate_record json_populate_recordset json_strip_nulls json_to_record
    json_to_recordset json_typeof jsonb_agg jsonb_agg_strict jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
    jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match
    jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls
    jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval
    lag last_value lastval lcm lead left length like_escape ln log log10 lower lower_inc
    lower_inf lpad ltrim macaddr8_set7bit make_date make_interval make_time make_timestamp
    make_timestamptz masklen max md5 min min_scale mod mode multirange netmask network
    normalize now nth_value ntile num_nonnulls num_nulls obj_description octet_length overlaps
    overlay parse_ident percent_rank percentile_cont percentile_disc pg_backend_pid
    pg_client_encoding pg_column_size pg_database_size pg_encoding_to_char pg_get_constraintdef
    pg_get_expr pg_get_functiondef pg_get_indexdef pg_get_ruledef pg_get_serial_sequence
    pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_indexes_size pg_is_in_recovery
    pg_relation_size pg_size_bytes pg_size_pretty pg_sleep pg_table_is_visible pg_table_size
    pg_total_relation_size pg_type_is_visible pg_typeof phraseto_tsquery pi plainto_tsquery
    point polygon position power quote_ident quote_literal quote_nullable radians radius random
    random_normal range_agg range_intersect_agg range_merge rank regexp_count regexp_instr
    regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope repeat replace reverse right round row_number row_to_json rpad rtrim scale
    session_user set_bit set_byte set_masklen setweight sha224 sha256 sha384 sha512
    shobj_description sign sin split_part sqrt starts_with statement_timestamp stddev
    stddev_pop stddev_samp string_agg string_to_array string_to_table strip strpos substr
    substring sum tan text timeofday timestamp timestamptz timezone to_ascii to_char to_date
    to_hex to_json to_jsonb to_number to_regclass to_regnamespace to_regproc to_regprocedure
    to_regrole to_regtype to_timestamp to_tsquery to_tsvector transaction_timestamp translate
    trim_array trim_scale trunc ts_delete ts_filter ts_headline ts_rank ts_rank_cd
    tsquery_phrase tsvector_to_array txid_current txid_current_if_assigned unistr unnest upper
    upper_inc upper_inf uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 var_pop
    var_samp variance version websearch_to_tsquery width width_bucket xmlagg xpath xpath_exists
    """.split()
)
"""Built-in: of the schema `pg_catalog`."""

PURE_ANYWHERE = frozenset(
    """
    akeys armor avals crypt dearmor digest gen_random_bytes gen_salt hmac hstore hstore_to_json
    hstore_to_jsonb ltree_to_text nlevel pgp_sym_decrypt pgp_sym_encrypt show_trgm similarity
    st_asgeojson st_astext st_geogfromtext st_geomfromtext st_makepoint st_point st_setsrid
    st_transform st_x st_y strict_word_similarity subpath text2ltree unaccent uuid_generate_v1
    uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5 uuid_nil uuid_ns_dns
    uuid_ns_oid uuid_ns_url uuid_ns_x500 word_similarity
    """.split()
)
"""Of the extensions pgcrypto, uuid-ossp, hstore, ltree, pg_trgm, unaccent and PostGIS, which
live in whichever schema somebody chose."""

SEQUENCES = frozenset({"nextval", "setval"})
"""They move a sequence on, and change no table."""

SESSIONS = frozenset(
    """
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared set_config setseed
    """.split()
)
"""They change the session and nothing else."""

CHANGING = SEQUENCES | frozenset(
    """
    age array_sample array_shuffle clock_timestamp currval gen_random_bytes gen_random_uuid
    gen_salt lastval now pg_backend_pid pgp_sym_encrypt random random_normal
    statement_timestamp timeofday transaction_timestamp txid_current
    txid_current_if_assigned uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4 uuidv7
    """.split()
)
"""Those whose value may be another one at the next call (`age` of one argument is today's)."""

AGGREGATES = frozenset(
    """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop
    covar_samp every json_agg json_agg_strict json_object_agg jsonb_agg jsonb_agg_strict
    jsonb_object_agg max min mode percentile_cont percentile_disc range_agg range_intersect_agg
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope stddev string_agg sum
    var_pop var_samp variance xmlagg
    """.split()
)
"""Those of `PURE` that give a row where there is none to look at."""
