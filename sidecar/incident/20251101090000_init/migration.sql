-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "momentum";

-- CreateEnum
CREATE TYPE "momentum"."BoardVisibility" AS ENUM ('PRIVATE', 'TEAM', 'PUBLIC');

-- CreateTable
CREATE TABLE "momentum"."mm_board" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "visibility" "momentum"."BoardVisibility" NOT NULL DEFAULT 'PRIVATE',
    "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "mm_board_pkey" PRIMARY KEY ("id")
);
