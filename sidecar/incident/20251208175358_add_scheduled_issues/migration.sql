-- CreateEnum
CREATE TYPE "momentum"."ScheduleFrequency" AS ENUM ('DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY');

-- CreateTable
CREATE TABLE "momentum"."mm_scheduled_issue" (
    "id" TEXT NOT NULL,
    "board_id" TEXT NOT NULL,
    "title" TEXT NOT NULL,
    "frequency" "momentum"."ScheduleFrequency" NOT NULL DEFAULT 'WEEKLY',
    "next_run_at" TIMESTAMP(3) NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT true,

    CONSTRAINT "mm_scheduled_issue_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "mm_scheduled_issue_board_id_idx" ON "momentum"."mm_scheduled_issue"("board_id");

-- AddForeignKey
ALTER TABLE "momentum"."mm_scheduled_issue" ADD CONSTRAINT "mm_scheduled_issue_board_id_fkey" FOREIGN KEY ("board_id") REFERENCES "momentum"."mm_board"("id") ON DELETE CASCADE ON UPDATE CASCADE;
