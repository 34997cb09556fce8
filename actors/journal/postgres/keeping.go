package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// keeping are the parameters of keepText.
type keeping struct {
	qSlot, qKey                          array
	fSlot, fLane, fID, fKey, fAt, fDelay array
	fSum, fBody                          array
}

func newKeeping() *keeping {
	return &keeping{
		qSlot: newArray(oidInt4, 0), qKey: newArray(oidText, 0),
		fSlot: newArray(oidInt4, 64), fLane: newArray(oidInt4, 64), fID: newArray(oidText, 256), fKey: newArray(oidText, 64),
		fAt: newArray(oidInt8, 64), fDelay: newArray(oidInt8, 64), fSum: newArray(oidInt8, 64), fBody: newArray(oidBytea, 1024),
	}
}

// add what a source keeps, which has a slot in the statement.
func (k *keeping) add(slot int, what rules.Keeping) {
	for _, key := range what.Keys {
		k.qSlot.int4(slot)
		k.qKey.text(key)
	}
	lane := journal.Lane(what.Source)
	for _, e := range what.Effects {
		body := actors.MarshalEffect(e)
		k.fSlot.int4(slot)
		k.fLane.int4(lane)
		k.fID.text(e.ID)
		k.fKey.text(e.Key)
		if e.Due.IsZero() {
			k.fAt.null()
		} else {
			k.fAt.int8(e.Due.UnixMicro())
		}
		k.fDelay.int8(micros(e.Delay))
		k.fSum.int8(int64(effectSum(e.ID, body)))
		k.fBody.bytes(body)
	}
}

func (k *keeping) encode() []driver.Value {
	return []driver.Value{
		k.qSlot.encode(), k.qKey.encode(),
		k.fSlot.encode(), k.fLane.encode(), k.fID.encode(), k.fKey.encode(),
		k.fAt.encode(), k.fDelay.encode(), k.fSum.encode(), k.fBody.encode(),
	}
}

// micros of a duration, and a whole one for what is left over: no delay becomes none.
func micros(d time.Duration) int64 {
	whole := d / time.Microsecond
	if d%time.Microsecond > 0 {
		whole++
	}
	return int64(whole)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// effectSum covers an effect's id and what it says.
func effectSum(id string, body []byte) uint32 {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(id)), uint32(len(id)))
	return crc32.Update(crc32.Update(0, castagnoli, append(b, id...)), castagnoli, body)
}

// keepText keeps the effects f of streams, after those have gone whose keys q names. One that is kept already is left
// out, and does not go.
const keepText = `, gone AS (
  DELETE FROM {schema}.effects k USING q
  WHERE k.key <> '' AND k.service = q.service AND k.source = q.source AND k.key = q.key
    AND NOT EXISTS (SELECT FROM f WHERE f.id = k.id)
  RETURNING 1
), kept AS (
  INSERT INTO {schema}.effects (id, service, source, lane, key, due, delayed, checksum, body)
  SELECT f.id, f.service, f.source, f.lane, f.key,
    coalesce('epoch'::timestamptz + f.at * interval '1 microsecond', now() + f.delay * interval '1 microsecond'),
    f.at IS NOT NULL OR f.delay > 0, f.checksum, f.body
  FROM f WHERE (SELECT count(*) FROM gone) >= 0
  ORDER BY f.n
  ON CONFLICT (id) DO NOTHING
)`

// enqueueSQL is keepText for one source.
const enqueueSQL = `
WITH q AS MATERIALIZED (
  SELECT $1::text AS service, $2::text AS source, q.key FROM unnest($3::int4[], $4::text[]) AS q(slot, key)
), f AS MATERIALIZED (
  SELECT $1::text AS service, $2::text AS source, f.*
  FROM unnest($5::int4[], $6::int4[], $7::text[], $8::text[], $9::int8[], $10::int8[], $11::int8[], $12::bytea[])
    WITH ORDINALITY AS f(slot, lane, id, key, at, delay, checksum, body, n)
)` + keepText + `
SELECT 1 WHERE false`
