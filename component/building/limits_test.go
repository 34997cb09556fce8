package building

import (
	"strconv"
	"strings"
	"testing"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestStateLimits(t *testing.T) { onEach(t, testStateLimits) }

func testStateLimits(t *testing.T, j Journal) {
	r := store(t, j, map[string]string{"maxReply": "64Ki"})
	most := 64<<10 - overhead
	if err := r.set(strings.Repeat("k", MaxKeyBytes), strings.Repeat("x", most), nil, nil); err != nil {
		t.Error(err)
	}
	if resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: strings.Repeat("k", MaxKeyBytes)}); err != nil || len(resp.GetData()) != most {
		t.Errorf("%d bytes, %v", len(resp.GetData()), err)
	}
	wantCode(t, r.set("k", strings.Repeat("x", most+1), nil, nil), codes.ResourceExhausted)
	wantCode(t, r.transact(setOp("k", "x", nil), setOp("l", strings.Repeat("x", most+1), nil)), codes.ResourceExhausted)
	_, err := r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{
		{Key: "k", Value: []byte("x")}, {Key: "l", Value: make([]byte, most+1)},
	}})
	wantCode(t, err, codes.ResourceExhausted)
	r.want(t, "k", "<nothing>")
	r.want(t, "l", "<nothing>")
	wantCode(t, r.set(strings.Repeat("k", MaxKeyBytes+1), "x", nil, nil), codes.InvalidArgument)
	wantCode(t, r.set("a\x00b", "x", nil, nil), codes.InvalidArgument)
	for _, key := range []string{
		"app||Type||a/b%#?\\||k", " ", "\n", "ключ🫖", "a\u0085b",
		`'; DROP TABLE entities.events; --`, `k' OR '1'='1`, `"k"`, `{"k",NULL}`, "$1", `\'`,
	} {
		if err := r.set(key, key, nil, nil); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		r.want(t, key, key+"@1")
	}
	for _, key := range []string{`k' OR '1'='1`, `{"k",NULL}`} {
		if err := r.del(key, nil); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		r.want(t, key, "<nothing>")
	}
	r.want(t, `"k"`, `"k"@1`)
	for value, code := range map[string]codes.Code{
		"5": codes.OK, "2147483647": codes.OK, "0": codes.OK, "-1": codes.OK, "": codes.OK,
		"x": codes.InvalidArgument, "-2": codes.InvalidArgument, "2147483648": codes.InvalidArgument, "1.5": codes.InvalidArgument,
	} {
		_, err := r.state.Set(r.ctx, &components.SetRequest{Key: "ttl", Metadata: map[string]string{"TTLInSeconds": value}})
		wantCode(t, err, code)
	}
	// What daprd needs to hand code and text on.
	err = r.set("", "x", nil, nil)
	info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.GetMetadata()["kit_error"] != "true" || info.GetMetadata()["http_code"] != "400" || info.GetMetadata()["tag"] != "ERR_ENTITIES_INVALID_ARGUMENT" {
		t.Errorf("%v", info)
	}
}

// TestBulkGetFits: the answer stays below what the sidecar takes, and says which keys are not in it.
func TestBulkGetFits(t *testing.T) {
	t.Parallel()
	r := store(t, nil, nil)
	value := strings.Repeat("x", 1<<20)
	var gets []*components.GetRequest
	for i := range 6 {
		key := strconv.Itoa(i)
		if err := r.set(key, value, nil, nil); err != nil {
			t.Fatal(err)
		}
		gets = append(gets, &components.GetRequest{Key: key})
	}
	got, err := r.state.BulkGet(r.ctx, &components.BulkGetRequest{Items: gets})
	if err != nil || proto.Size(got) > maxResponse {
		t.Fatalf("%d bytes, %v", proto.Size(got), err)
	}
	whole := 0
	for _, i := range got.GetItems() {
		if i.GetError() == "" && len(i.GetData()) == len(value) {
			whole++
		} else if !strings.Contains(i.GetError(), "ask for fewer keys") || i.GetData() != nil {
			t.Errorf("%s: %s", i.GetKey(), i.GetError())
		}
	}
	if whole != 3 {
		t.Errorf("%d values", whole)
	}
}

// TestCounters: increments by ETag and by transaction from many connections; none is lost.
