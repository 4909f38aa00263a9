-- CreateTable
CREATE TABLE "momentum"."mm_issue" (
    "id" SERIAL NOT NULL,
    "board_id" TEXT NOT NULL,
    "title" TEXT NOT NULL,
    "done" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "mm_issue_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "mm_issue_board_id_idx" ON "momentum"."mm_issue"("board_id");

-- AddForeignKey
ALTER TABLE "momentum"."mm_issue" ADD CONSTRAINT "mm_issue_board_id_fkey" FOREIGN KEY ("board_id") REFERENCES "momentum"."mm_board"("id") ON DELETE CASCADE ON UPDATE CASCADE;
